// A video as a card: while it waits, while it grows, when it is there, and when it failed.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { api, contentUrl, type Video } from "./api";
import { Icon, Link, Tile, aspectOf, reason, say } from "./parts";
import { path, go, videoPath } from "./route";
import { cancel, isUnfinished, made, moments, previews, remove, undoRemove, watched } from "./state";
import { duration, words } from "./strings";

const COLUMNS = 6;
const ROWS = 4;
const TURN_MS = 160;

/** `children` lie on its picture. */
export function VideoCard({ video, children }: { video: Video; children?: ComponentChildren }) {
  const t = words().card;
  const aspect = aspectOf(video.size);
  return (
    <li class="card" style={{ "--aspect": String(aspect) }} data-id={video.id} data-status={video.status}>
      {video.status === "completed" ? <Finished video={video} /> : <Picture video={video} />}
      {video.hibari.sample && <span class="badge">{t.sample}</span>}
      {children}
      <Link to={videoPath(video.id)} class="caption" tabIndex={-1} aria-hidden="true">
        {video.prompt}
      </Link>
      {isUnfinished(video) && <Growing video={video} />}
      {video.status === "failed" && <Failed video={video} />}
    </li>
  );
}

/** The thumbnail; its moments one after the other while it is pointed at or has the focus. */
function Finished({ video }: { video: Video }) {
  const t = words().card;
  const [moment, setMoment] = useState<number | null>(null);
  const timer = useRef<ReturnType<typeof setInterval>>();
  const begin = () => {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches || timer.current !== undefined) return;
    setMoment(0);
    timer.current = setInterval(() => setMoment((now) => ((now ?? 0) + 1) % (COLUMNS * ROWS)), TURN_MS);
  };
  const end = () => {
    clearInterval(timer.current);
    timer.current = undefined;
    setMoment(null);
  };
  useEffect(() => end, []);
  return (
    <Link
      to={videoPath(video.id)}
      class="picture"
      aria-label={t.open(video.prompt)}
      onPointerEnter={begin}
      onPointerLeave={end}
      onFocus={begin}
      onBlur={end}
    >
      <img src={contentUrl(video.id, "thumbnail")} alt="" loading="lazy" decoding="async" />
      {moment !== null && (
        <span
          class="moments"
          style={{
            backgroundImage: `url("${contentUrl(video.id, "spritesheet")}")`,
            backgroundPosition: `${((moment % COLUMNS) / (COLUMNS - 1)) * 100}% ${(Math.floor(moment / COLUMNS) / (ROWS - 1)) * 100}%`,
          }}
        />
      )}
    </Link>
  );
}

/** What there is to see of a video that is not finished. */
export function Picture({ video }: { video: Video }) {
  const t = words().card;
  const preview = previews.value.get(video.id);
  const several = moments.value.get(video.id)?.length ?? 0; // of a storyboard, side by side
  return (
    <Link to={videoPath(video.id)} class={`picture ${isUnfinished(video) ? "growing" : ""}`} aria-label={t.open(video.prompt)}>
      {preview !== undefined &&
        isUnfinished(video) &&
        (several > 1 ? (
          <Tile class="preview" source={preview} column={several >> 1} columns={several} row={0} rows={1} />
        ) : (
          <img class="preview" src={preview} alt="" />
        ))}
      {video.status === "failed" && <Icon name="warning" />}
    </Link>
  );
}

/** Where it stands, in words. */
export function standing(video: Video): string {
  const t = words().card;
  const { queue_position: ahead, seconds_left: left, step, steps } = video.hibari;
  const told: string[] = [];
  if (video.status === "queued") told.push(ahead === null ? t.queued : ahead === 0 ? t.next : t.ahead(ahead));
  else if (steps !== null && step >= steps) told.push(t.finishing);
  else told.push(t.step(step, steps ?? 0));
  if (left === null) told.push(t.unmeasured);
  else if (left > 0) told.push(t.left(duration(left)));
  return told.join(" · ");
}

export function Growing({ video }: { video: Video }) {
  const t = words().card;
  return (
    <div class="standing">
      <progress max={100} value={video.progress} aria-label={t.progress(video.prompt)} />
      <span class="told">{standing(video)}</span>
      <button
        type="button"
        class="quiet"
        onClick={() => cancel(video.id).catch((error: unknown) => say(reason(error)))}
      >
        {t.cancel}
      </button>
    </div>
  );
}

export function Failed({ video }: { video: Video }) {
  const t = words();
  const code = video.error?.code ?? "server_error";
  const explained = t.failures[code] ?? t.failures["server_error"];
  const detail = code === "invalid_request" || code === "invalid_input" ? ` (${video.error?.message ?? ""})` : "";
  return (
    <div class="standing">
      <span class="told">{`${explained}${detail}`}</span>
      <span class="pair">
        <button type="button" class="quiet" onClick={() => void again(video)}>
          {t.card.again}
        </button>
        <button type="button" class="quiet" onClick={() => removeWithUndo(video)}>
          {t.card.remove}
        </button>
      </span>
    </div>
  );
}

async function again(video: Video): Promise<void> {
  try {
    const next = await watched(api.again(video.id));
    await made(next);
    if (path.value === videoPath(video.id)) go(videoPath(next.id));
  } catch (error) {
    say(reason(error));
  }
}

export function removeWithUndo(...videos: readonly Pick<Video, "id">[]): void {
  const t = words();
  const ids = videos.map((video) => video.id);
  remove(ids);
  say(ids.length === 1 ? t.removed : t.removedMany(ids.length), { text: t.undo, run: () => undoRemove(ids) });
}
