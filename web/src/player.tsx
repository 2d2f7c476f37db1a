// Plays a clip over and over, and stops at any frame of it.

import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { contentUrl, type Video } from "./api";
import { Download } from "./download";
import { useFrame } from "./draft";
import { Icon, aspectOf } from "./parts";
import { words } from "./strings";

/** The number of the frame that is seen, from 0. */
export const frameShown = signal(0);
/** A frame that somebody wants to see. */
export const frameWanted = signal<{ number: number } | null>(null);

export function Player({ video }: { video: Video }) {
  const t = words().clip;
  const player = useRef<HTMLVideoElement>(null);
  const frame = frameShown.value;
  const setFrame = (number: number) => {
    frameShown.value = number;
  };
  const [playing, setPlaying] = useState(false);
  const [loop, setLoop] = useState(true);
  const fps = video.hibari.fps ?? 8;
  const frames = video.hibari.frames ?? 1;

  useEffect(() => {
    const shown = player.current;
    if (shown === null) return;
    let wanted = 0;
    frameShown.value = 0;
    frameWanted.value = null;
    const follow: VideoFrameRequestCallback = (_, told) => {
      setFrame(Math.min(frames - 1, Math.max(0, Math.round(told.mediaTime * fps))));
      wanted = shown.requestVideoFrameCallback(follow);
    };
    wanted = shown.requestVideoFrameCallback(follow);
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) shown.play().catch(() => undefined);
    return () => shown.cancelVideoFrameCallback(wanted);
  }, [video.id, fps, frames]);

  const show = (number: number) => {
    const shown = player.current;
    if (shown === null) return;
    shown.pause();
    const wanted = (number + frames) % frames;
    setFrame(wanted);
    shown.currentTime = (wanted + 0.5) / fps; // the middle of a frame is within it, however times are rounded
  };
  useEffect(() => {
    if (frameWanted.value !== null) show(frameWanted.value.number);
  }, [frameWanted.value]);
  const toggle = () => {
    const shown = player.current;
    if (shown === null) return;
    if (shown.paused) shown.play().catch(() => undefined);
    else shown.pause();
  };
  const grab = () => {
    const shown = player.current;
    if (shown === null) return;
    shown.pause();
    const canvas = document.createElement("canvas");
    canvas.width = shown.videoWidth;
    canvas.height = shown.videoHeight;
    canvas.getContext("2d")?.drawImage(shown, 0, 0);
    canvas.toBlob((picture) => picture !== null && useFrame(picture, video), "image/png");
  };
  const keys = (event: KeyboardEvent) => {
    if (event.target instanceof HTMLInputElement || event.target instanceof HTMLButtonElement) return;
    if (event.key === " ") toggle();
    else if (event.key === "ArrowLeft") show(frame - 1);
    else if (event.key === "ArrowRight") show(frame + 1);
    else return;
    event.preventDefault();
  };
  return (
    <div class="player" onKeyDown={keys} style={{ "--aspect": String(aspectOf(video.size)) }}>
      <video
        ref={player}
        src={contentUrl(video.id)}
        poster={contentUrl(video.id, "thumbnail")}
        aria-label={video.prompt}
        tabIndex={0}
        muted
        playsInline
        loop={loop}
        onClick={toggle}
        onPlay={() => setPlaying(true)}
        onPause={() => setPlaying(false)}
      />
      <div class="controls">
        <button type="button" class="quiet round" aria-label={playing ? t.pause : t.play} onClick={toggle}>
          <Icon name={playing ? "pause" : "play"} />
        </button>
        <button type="button" class="quiet round" aria-label={t.back} onClick={() => show(frame - 1)}>
          <Icon name="back" />
        </button>
        <input
          type="range"
          aria-label={t.frame}
          aria-valuetext={t.frameOf(frame + 1, frames)}
          min={0}
          max={frames - 1}
          step={1}
          value={frame}
          onInput={(event) => show(Number(event.currentTarget.value))}
        />
        <button type="button" class="quiet round" aria-label={t.forward} onClick={() => show(frame + 1)}>
          <Icon name="forward" />
        </button>
        <output class="frame" style={{ minWidth: `calc(${2 * String(frames).length}ch + 1.2em)` }}>{t.frameOf(frame + 1, frames)}</output>
        <button type="button" class="quiet round" aria-label={t.loop} aria-pressed={loop} onClick={() => setLoop(!loop)}>
          <Icon name="repeat" />
        </button>
      </div>
      <div class="beside">
        <Download video={video} />
        <button type="button" class="quiet" onClick={grab}>
          <Icon name="frame" />
          {t.firstFrame}
        </button>
      </div>
    </div>
  );
}
