// What can be made of a finished video.

import { useState } from "preact/hooks";
import { api, contentUrl, type Fields, type Video } from "./api";
import type { Strength } from "./draft";
import { Field, Problem, Segments, Select, reason } from "./parts";
import { go, videoPath } from "./route";
import { finished, made, watched } from "./state";
import { words } from "./strings";
import { Trim } from "./trim";

const TOOLS = ["remix", "edit", "extend", "trim", "loop", "connect", "blend"] as const;
type Tool = (typeof TOOLS)[number];
const CURVES = ["smooth", "linear", "step"] as const;

export function Tools({ video }: { video: Video }) {
  const t = words();
  const [tool, setTool] = useState<Tool>("remix");
  return (
    <div class="tools">
      <Segments
        label={t.clip.tools}
        hideLabel
        value={tool}
        options={TOOLS.map((one) => [one, t.tools[one]] as const)}
        onChange={setTool}
      />
      <p class="hint">{t.tools.leads[tool]}</p>
      {tool === "trim" ? <Trim video={video} /> : <Prompted video={video} tool={tool} />}
    </div>
  );
}

/** The tools that make something new. */
function Prompted({ video, tool }: { video: Video; tool: Exclude<Tool, "trim"> }) {
  const t = words();
  const [prompt, setPrompt] = useState(video.prompt);
  const [strength, setStrength] = useState<Strength>("strong");
  const [seconds, setSeconds] = useState("1");
  const [where, setWhere] = useState<"after" | "before">("after");
  const [other, setOther] = useState<string | null>(null);
  const [curve, setCurve] = useState<(typeof CURVES)[number]>("smooth");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const others = finished.value.filter((one) => one.id !== video.id);

  const submit = async () => {
    if (busy) return;
    setBusy(true);
    setProblem(null);
    try {
      const next = await watched(send());
      await made(next);
      go(videoPath(next.id));
    } catch (error) {
      setProblem(reason(error));
    } finally {
      setBusy(false);
    }
  };
  const send = () => {
    const given = { video: { id: video.id }, prompt };
    const videos = [{ id: video.id }, { id: other }];
    const sent: Record<typeof tool, () => [string, Fields]> = {
      remix: () => [`/${video.id}/remix`, { prompt, strength }],
      edit: () => ["/edits", { ...given, strength }],
      extend: () => ["/extensions", { ...given, seconds, backward: where === "before" }],
      loop: () => ["/loops", { ...given, seconds }],
      connect: () => ["/connections", { prompt, videos, seconds }],
      blend: () => ["/blends", { prompt, videos, strength, curve }],
    };
    return api.make(...sent[tool]());
  };
  const two = tool === "connect" || tool === "blend";
  const ready = prompt.trim() !== "" && (!two || other !== null);
  return (
    <form
      class="tools"
      onSubmit={(event) => {
        event.preventDefault();
        if (ready) void submit();
      }}
    >
      <Field label={t.tools.prompt}>
        {(id) => (
          <textarea
            id={id}
            rows={2}
            maxLength={2000}
            value={prompt}
            onInput={(event) => setPrompt(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && ready) {
                event.preventDefault();
                void submit();
              }
            }}
          />
        )}
      </Field>
      <div class="row">
        {tool === "extend" && (
          <Segments
            label={t.tools.where}
            value={where}
            options={[["after", t.tools.after] as const, ["before", t.tools.before] as const]}
            onChange={setWhere}
          />
        )}
        {(tool === "extend" || tool === "loop" || tool === "connect") && (
          <Select
            label={t.tools.add}
            value={seconds}
            options={["1", "2", "3", "4", "6", "8"].map((count) => [count, t.choices.seconds(count)] as const)}
            onChange={setSeconds}
          />
        )}
        {(tool === "remix" || tool === "edit" || tool === "blend") && (
          <Segments
            label={t.choices.strength}
            value={strength}
            options={(["subtle", "mild", "strong"] as const).map((one) => [one, t.choices.strengths[one]] as const)}
            onChange={setStrength}
          />
        )}
      </div>
      {tool === "blend" && (
        <Segments
          label={t.tools.curve}
          value={curve}
          options={CURVES.map((one) => [one, t.tools.curves[one]] as const)}
          onChange={setCurve}
        />
      )}
      {two && <Others videos={others} chosen={other} choose={setOther} />}
      <Problem text={problem} />
      <button type="submit" class="primary" disabled={!ready} aria-disabled={busy}>
        {busy ? t.make.working : t.tools.submit[tool]}
      </button>
    </form>
  );
}

function Others({ videos, chosen, choose }: { videos: Video[]; chosen: string | null; choose: (id: string) => void }) {
  const t = words().tools;
  if (videos.length === 0) return <p class="hint">{t.noOther}</p>;
  return (
    <fieldset class="field">
      <legend>{t.other}</legend>
      <div class="others">
        {videos.map((video) => (
          <label key={video.id} class={video.id === chosen ? "chosen" : undefined}>
            <input
              class="unseen"
              type="radio"
              name="other"
              value={video.id}
              checked={video.id === chosen}
              onChange={() => choose(video.id)}
            />
            <img src={contentUrl(video.id, "thumbnail")} alt={video.prompt} title={video.prompt} loading="lazy" />
          </label>
        ))}
      </div>
    </fieldset>
  );
}
