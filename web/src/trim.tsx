// Cuts a video to the frames between two marks.

import { useState } from "preact/hooks";
import { api, type Video } from "./api";
import { Field, Problem, reason } from "./parts";
import { frameShown, frameWanted } from "./player";
import { go, videoPath } from "./route";
import { made, watched } from "./state";
import { words } from "./strings";

export function Trim({ video }: { video: Video }) {
  const t = words().trim;
  const count = video.hibari.frames ?? 1;
  const fps = video.hibari.fps ?? 8;
  const [first, setFirst] = useState(0);
  const [last, setLast] = useState(count - 1);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const kept = last - first + 1;
  const ready = kept >= 2 && kept < count;

  const begin = (number: number) => {
    setFirst(Math.max(0, Math.min(number, last - 1)));
    frameWanted.value = { number };
  };
  const end = (number: number) => {
    setLast(Math.min(count - 1, Math.max(number, first + 1)));
    frameWanted.value = { number };
  };
  const submit = async () => {
    if (busy || !ready) return;
    setBusy(true);
    setProblem(null);
    try {
      const next = await watched(api.trim(video.id, first, last));
      await made(next);
      go(videoPath(next.id));
    } catch (error) {
      setProblem(reason(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <form
      class="tools trim"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <Mark label={t.first} here={t.here} count={count} value={first} set={begin} />
      <Mark label={t.last} here={t.here} count={count} value={last} set={end} />
      <p class="count" role="status">
        {t.kept(kept, (kept / fps).toFixed(2))}
      </p>
      <p class="hint">{t.quality}</p>
      <Problem text={problem} />
      <button type="submit" class="primary" disabled={!ready} aria-disabled={busy}>
        {busy ? words().make.working : t.submit}
      </button>
    </form>
  );
}

interface MarkProps {
  label: string;
  here: string;
  count: number;
  value: number;
  set: (frame: number) => void;
}

/** A frame, counted from 1 as the player does: by slider, or the one that is shown. */
function Mark({ label, here, count, value, set }: MarkProps) {
  return (
    <div class="mark-row">
      <Field label={`${label}: ${value + 1}`}>
        {(id) => (
          <input
            id={id}
            type="range"
            min={1}
            max={count}
            step={1}
            value={value + 1}
            onInput={(event) => set(Number(event.currentTarget.value) - 1)}
          />
        )}
      </Field>
      <button type="button" class="quiet" aria-label={`${label}: ${here}`} onClick={() => set(frameShown.value)}>
        {here}
      </button>
    </div>
  );
}
