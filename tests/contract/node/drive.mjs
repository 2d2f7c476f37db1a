// Every call of the official Node client. It reads OPENAI_BASE_URL and OPENAI_API_KEY itself: a base URL and a key are
// all that it is told. Its arguments are a picture, how many seconds each video has, and what else each is asked for, as
// JSON. Prints the names of what it has checked, one a line.

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import OpenAI, { toFile } from "openai";

const client = new OpenAI({ maxRetries: 0 });
const [picture, seconds, further] = process.argv.slice(2);
const asked = JSON.parse(further);

/** As the server advises, until it is over. */
async function poll(id) {
  for (;;) {
    const { data: video, response } = await client.videos.retrieve(id).withResponse();
    const pause = Number(response.headers.get("openai-poll-after-ms"));
    assert(pause >= 200 && pause <= 10_000, `poll after ${pause} ms`);
    if (video.status === "completed" || video.status === "failed") return video;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

async function bytes(id, variant = "video") {
  const answer = await client.videos.downloadContent(id, { variant });
  return Buffer.from(await answer.arrayBuffer());
}

let one;

const checks = {
  async create_retrieve_poll() {
    const wish = { prompt: "a cat", model: "sora-2", seconds, size: "160x96" };
    const video = await client.videos.create({ ...wish, ...asked });
    assert.equal(video.object, "video");
    assert.deepEqual([video.status, video.model, video.seconds, video.size], ["queued", "sora-2", seconds, "160x96"]);
    one = await poll(video.id);
    assert.deepEqual([one.status, one.progress, one.error], ["completed", 100, null]);
  },

  async download_in_three_variants() {
    const video = await bytes(one.id);
    assert.equal(video.subarray(4, 8).toString(), "ftyp");
    assert.equal((await bytes(one.id, "thumbnail")).subarray(8, 12).toString(), "WEBP");
    assert.equal((await bytes(one.id, "spritesheet")).subarray(0, 3).toString("hex"), "ffd8ff");
    await writeFile("one.mp4", video);
  },

  async list_page_by_page() {
    const first = await client.videos.list({ limit: 1 });
    assert.equal(first.data.length, 1);
    const ids = [];
    for await (const video of client.videos.list({ limit: 1, order: "asc" })) ids.push(video.id);
    assert(ids.includes(one.id));
    assert.equal(new Set(ids).size, ids.length);
  },

  async remix_edit_extend() {
    const remixed = await client.videos.remix(one.id, { prompt: "a dog", ...asked });
    assert.equal(remixed.remixed_from_video_id, one.id);
    const edited = await client.videos.edit({ prompt: "in the snow", video: { id: one.id }, ...asked });
    const extended = await client.videos.extend({ prompt: "on", seconds, video: { id: one.id }, ...asked });
    assert.equal(extended.seconds, `${2 * seconds}`);
    for (const video of [remixed, edited, extended]) assert.equal((await poll(video.id)).status, "completed");
  },

  async upload_a_picture_and_a_clip() {
    const still = await toFile(await readFile(picture), "a.png", { type: "image/png" });
    const clip = await toFile(await readFile("one.mp4"), "one.mp4", { type: "video/mp4" });
    const begun = await client.videos.create({ prompt: "a cat", seconds, input_reference: still, ...asked });
    const changed = await client.videos.edit({ prompt: "in the snow", video: clip, ...asked });
    const url = `data:image/png;base64,${(await readFile(picture)).toString("base64")}`;
    const told = await client.videos.create({ prompt: "a cat", seconds, input_reference: { image_url: url }, ...asked });
    for (const video of [begun, changed, told]) assert.equal((await poll(video.id)).status, "completed");
    const mo = await client.videos.createCharacter({ name: "Mo", video: clip });
    assert.deepEqual(await client.videos.getCharacter(mo.id), mo);
  },

  async errors_are_the_clients_own_classes() {
    const refused = async (kind, wanted, call) => {
      const error = await call().then(
        () => assert.fail("it was not refused"),
        (raised) => raised,
      );
      assert(error instanceof kind, `${error}`);
      assert.deepEqual([error.status, error.code], wanted);
      assert(error.requestID);
    };
    await refused(OpenAI.NotFoundError, [404, "not_found"], () => client.videos.retrieve("video_none"));
    await refused(OpenAI.BadRequestError, [400, "invalid_value"], () =>
      client.videos.create({ prompt: "a", seconds: "61" }),
    );
    const stranger = new OpenAI({ apiKey: "hb_wrong", maxRetries: 0 });
    await refused(OpenAI.AuthenticationError, [401, "invalid_api_key"], () => stranger.videos.retrieve(one.id));
    const slow = await client.videos.create({ prompt: "a", seconds: "20", steps: 200 });
    await refused(OpenAI.ConflictError, [409, "video_not_ready"], () => client.videos.downloadContent(slow.id));
    await client.videos.delete(slow.id);
  },

  async models() {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    assert(names.includes("testcard") && names.includes("sora-2"));
    assert.equal((await client.models.retrieve("sora-2")).owned_by, "hibari");
  },

  async delete() {
    const gone = await client.videos.delete(one.id);
    assert.deepEqual([gone.id, gone.deleted, gone.object], [one.id, true, "video.deleted"]);
    await assert.rejects(client.videos.retrieve(one.id), OpenAI.NotFoundError);
  },
};

for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
  } catch (error) {
    console.error(`${name}:`);
    throw error;
  }
  console.log(name);
}
