// A video's own page.

import { useEffect, useState } from "preact/hooks";
import type { Video } from "./api";
import { Failed, Growing, Picture, removeWithUndo } from "./card";
import { useAgain } from "./draft";
import { LineageTree } from "./lineage";
import { Icon, aspectOf, reason, say, sizeName } from "./parts";
import { Player } from "./player";
import { go } from "./route";
import { change } from "./shelf";
import { fetchVideo, leaving, videoById } from "./state";
import { language, words } from "./strings";
import { Tools } from "./tools";

export function ClipPage({ id }: { id: string }) {
  const t = words();
  const [problem, setProblem] = useState<string | null>(null);
  const video = videoById(id);
  useEffect(() => {
    setProblem(null);
    fetchVideo(id).then(
      (found) => found === null && setProblem(words().clip.gone),
      (error: unknown) => setProblem(reason(error)),
    );
  }, [id]);
  if (video === undefined || leaving.value.has(id)) {
    return (
      <div class="empty" role="status">
        <h1>{leaving.value.has(id) ? t.removed : (problem ?? t.state.loading)}</h1>
      </div>
    );
  }
  return (
    <article class="clip" key={id}>
      <h1>{video.prompt}</h1>
      {video.status === "completed" ? (
        <Player video={video} />
      ) : (
        <div class="player" style={{ "--aspect": String(aspectOf(video.size)) }} data-status={video.status}>
          <Picture video={video} />
          {video.status === "failed" ? <Failed video={video} /> : <Growing video={video} />}
        </div>
      )}
      <div class="sides">
        {video.status === "completed" && (
          <section aria-labelledby="tools">
            <h2 id="tools">{t.clip.tools}</h2>
            <Tools video={video} />
          </section>
        )}
        <section aria-labelledby="recipe">
          <h2 id="recipe">{t.clip.recipe}</h2>
          <RecipeList video={video} />
          <div class="beside">
            {video.hibari.tool !== "trim" && (
              <button type="button" class="quiet" onClick={() => void useAgain(video)}>
                <Icon name="again" />
                {t.clip.useAgain}
              </button>
            )}
            <Favourite video={video} />
            {video.status === "completed" && (
              <button
                type="button"
                class="quiet"
                onClick={() => {
                  removeWithUndo(video);
                  go("/gallery");
                }}
              >
                <Icon name="trash" />
                {t.card.remove}
              </button>
            )}
          </div>
          <h2 id="lineage">{t.clip.lineage}</h2>
          <LineageTree video={video} />
        </section>
      </div>
    </article>
  );
}

function RecipeList({ video }: { video: Video }) {
  const t = words();
  const { hibari } = video;
  const { recipe } = hibari;
  const rows: [string, string | number | null][] = [
    [t.recipe.negative, recipe.negative_prompt],
    [t.recipe.tool, hibari.tool && (t.recipe.toolNames[hibari.tool] ?? hibari.tool)],
    [t.recipe.strength, recipe.strength && strengthName(recipe.strength)],
    [t.recipe.kept, recipe.kept && t.recipe.keptFrames(recipe.kept[0] + 1, recipe.kept[1] + 1)],
    [t.recipe.curve, recipe.curve && (t.tools.curves[recipe.curve as keyof typeof t.tools.curves] ?? recipe.curve)],
    [t.recipe.picture, recipe.picture ? t.recipe.given : null],
    [t.recipe.cards, recipe.cards.map((card) => `${card.at_s} s: ${card.prompt || (card.video === null ? t.recipe.given : t.recipe.givenClip)}`).join("\n") || null],
    [t.recipe.model, hibari.model],
    [t.recipe.size, sizeName(video.size)],
    [t.recipe.native, hibari.native_size && hibari.native_size !== video.size ? sizeName(hibari.native_size) : null],
    [t.recipe.length, t.choices.seconds(video.seconds)],
    [t.recipe.frames, hibari.frames === null ? null : `${hibari.frames} (${hibari.fps}/s)`],
    [t.recipe.steps, hibari.steps],
    [t.recipe.guidance, recipe.guidance_scale],
    [t.recipe.sampler, recipe.sampler],
    [t.choices.preset, recipe.preset],
    [t.recipe.seed, hibari.seed],
    [t.recipe.made, new Date(video.created_at * 1000).toLocaleString(language.value)],
  ];
  return (
    <dl class="recipe">
      {rows
        .filter(([, value]) => value !== null && value !== "")
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}

function Favourite({ video }: { video: Video }) {
  const t = words();
  const { favourite } = video.hibari;
  return (
    <button
      type="button"
      class="quiet favourite"
      aria-pressed={favourite}
      onClick={() => change([video.id], { favourite: !favourite }).catch((error: unknown) => say(reason(error)))}
    >
      <Icon name="star" />
      {t.gallery.favourite}
    </button>
  );
}

function strengthName(strength: string): string {
  const names: Record<string, string> = words().choices.strengths;
  return names[strength] ?? strength;
}
