// What a storyboard shows at the playhead: its cards as they are planned, then the video as it grows, then the video.

import { useEffect, useRef, useState } from "preact/hooks";
import { contentUrl, type Video } from "./api";
import * as board from "./board";
import { Failed, Growing } from "./card";
import { choices, fieldsOf } from "./choices";
import { grown } from "./grown";
import { Icon, Link, Tile, aspectOf } from "./parts";
import { videoPath } from "./route";
import { fetchVideo, leaving, previews, videoById } from "./state";
import { words } from "./strings";

export function Stage() {
  const id = board.result.value;
  const video = id === null || leaving.value.has(id) ? undefined : videoById(id);
  useEffect(() => {
    if (id !== null && videoById(id) === undefined) fetchVideo(id).catch(() => undefined);
  }, [id]);
  const size = video?.size ?? String(fieldsOf(choices.value)["size"] ?? "1x1");
  return (
    <div class="stage" style={{ "--aspect": String(aspectOf(size)) }} data-status={video?.status ?? "planned"}>
      {video === undefined ? <Planned /> : video.status === "completed" ? <Made video={video} /> : <Making video={video} />}
    </div>
  );
}

/** The card at a moment, and the one that it comes from while it comes. */
function at(moment: number): { index: number; share: number } {
  const placed = board.placed.value;
  const index = Math.max(0, placed.findLastIndex((one) => one.begin - one.gap <= moment));
  const one = placed[index];
  return { index, share: one === undefined || one.gap === 0 ? 1 : Math.min(1, (moment - one.begin) / one.gap + 1) };
}

function Planned() {
  const t = words().board;
  const { index, share } = at(board.playhead.value);
  const one = board.placed.value[index];
  const before = board.placed.value[index - 1];
  if (one === undefined) return null;
  return (
    <figure>
      <div class="screen">
        {share < 1 && before !== undefined && <Face placed={before} opacity={1 - share} />}
        <Face placed={one} opacity={share} />
      </div>
      <figcaption class="hint">
        {share < 1 ? t.becoming(index, index + 1) : one.card.video ? t.clipHere : one.card.picture ? t.pictureHere : t.promptHere}
      </figcaption>
    </figure>
  );
}

function Face({ placed: { card, begin }, opacity }: { placed: board.Placed; opacity: number }) {
  const moment = Math.min(Math.max(0, board.playhead.value - begin), card.seconds);
  return (
    <div class="plan" style={{ opacity }}>
      {card.video !== null ? (
        <Still id={card.video.id} moment={moment} />
      ) : card.picture !== null ? (
        <img src={card.picture} alt="" />
      ) : (
        <p>{card.prompt || words().storyboard.blank}</p>
      )}
    </div>
  );
}

/** A video that stands at a moment of its own. */
function Still({ id, moment }: { id: string; moment: number }) {
  const shown = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    if (shown.current !== null) shown.current.currentTime = moment + 0.01;
  }, [id, moment]);
  return <video ref={shown} src={contentUrl(id)} muted playsInline preload="auto" aria-hidden="true" tabIndex={-1} />;
}

function Making({ video }: { video: Video }) {
  const tile = grown.value.get(at(board.playhead.value).index);
  const preview = previews.value.get(video.id);
  return (
    <figure>
      <div class="screen growing">
        {tile !== undefined ? <Tile class="plan" {...tile} /> : preview !== undefined && <img class="plan" src={preview} alt="" />}
      </div>
      {video.status === "failed" ? <Failed video={video} /> : <Growing video={video} />}
    </figure>
  );
}

/** The playhead follows it while it plays, and it follows the playhead while it does not. */
function Made({ video }: { video: Video }) {
  const t = words();
  const shown = useRef<HTMLVideoElement>(null);
  const [playing, setPlaying] = useState(false);
  const moment = board.playhead.value;
  useEffect(() => {
    const player = shown.current;
    if (player !== null && player.paused) player.currentTime = Math.min(moment, Number(video.seconds) - 0.01);
  }, [moment, video.id]);
  useEffect(() => {
    if (!playing) return;
    let next = requestAnimationFrame(function follow() {
      if (shown.current !== null) board.playhead.value = shown.current.currentTime;
      next = requestAnimationFrame(follow);
    });
    return () => cancelAnimationFrame(next);
  }, [playing]);
  const toggle = () => {
    const player = shown.current;
    if (player === null) return;
    if (player.paused) player.play().catch(() => undefined);
    else player.pause();
  };
  return (
    <figure>
      <video
        ref={shown}
        class="screen"
        src={contentUrl(video.id)}
        aria-label={video.prompt}
        muted
        playsInline
        preload="auto"
        onClick={toggle}
        onPlay={() => setPlaying(true)}
        onPause={() => setPlaying(false)}
      />
      <figcaption class="beside">
        <button type="button" class="quiet round" aria-label={playing ? t.clip.pause : t.clip.play} onClick={toggle}>
          <Icon name={playing ? "pause" : "play"} />
        </button>
        <Link to={videoPath(video.id)}>{t.board.open}</Link>
      </figcaption>
    </figure>
  );
}
