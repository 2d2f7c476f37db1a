// What is about to be made: the prompt survives a reload, a dropped file cannot.

import { signal } from "@preact/signals";
import type { Video } from "./api";
import { again } from "./board";
import { blank, choices, choicesOf, choose } from "./choices";
import { go } from "./route";

export type Use = "first" | "edit" | "extend" | "extend_back";
export type Strength = "subtle" | "mild" | "strong";

export interface Attached {
  file: Blob;
  name: string;
  url: string;
  kind: "picture" | "clip";
  use: Use;
}

export const prompt = signal(sessionStorage.getItem("prompt") ?? "");
export const attached = signal<Attached | null>(null);

export function write(text: string): void {
  prompt.value = text;
  sessionStorage.setItem("prompt", text);
}

const PICTURES = /^image\/(png|jpeg|gif|webp)$/;
const CLIPS = /^video\/(mp4|webm)$/;

/** Whether it was taken. What a file really is, the server finds out. */
export function attach(file: Blob, name: string): boolean {
  const kind = PICTURES.test(file.type) ? "picture" : CLIPS.test(file.type) ? "clip" : null;
  if (kind === null) return false;
  detach();
  attached.value = { file, name, url: URL.createObjectURL(file), kind, use: kind === "picture" ? "first" : "edit" };
  return true;
}

export function detach(): void {
  if (attached.value !== null) URL.revokeObjectURL(attached.value.url);
  attached.value = null;
}

/** Begin again with all that made a video. */
export function useAgain(video: Video): void {
  choose(choicesOf(video));
  if (video.hibari.recipe.cards.length > 0) {
    again(video.hibari.recipe.cards, Number(video.seconds));
    return go("/storyboard");
  }
  detach();
  write(video.prompt);
  go("/");
}

/** Begin a video with a frame of another one, in its shape. */
export function useFrame(frame: Blob, video: Video): void {
  attach(frame, "frame.png");
  write(video.prompt);
  choose({ ...blank, model: choices.value.model, shape: choicesOf(video).shape, size: video.size });
  go("/");
}
