// What is about to be made: the prompt survives a reload, a dropped file cannot.

import { signal } from "@preact/signals";
import { picture, type Video } from "./api";
import { again } from "./board";
import { blank, choices, choicesOf, choose } from "./choices";
import { say } from "./parts";
import { shrunk } from "./picture";
import { go } from "./route";
import { words } from "./strings";

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

/** Begin again with all that made a video. A picture that is gone is told of, and left out. */
export async function useAgain(video: Video): Promise<void> {
  const { recipe } = video.hibari;
  const count = [recipe, ...recipe.cards].filter((one) => one.picture).length;
  const given = await Promise.all(Array.from({ length: count }, (_, n) => picture(video.id, n).catch(() => null)));
  const first = recipe.picture ? given.shift() : undefined;
  const ofCards = await Promise.all(given.map((one) => one && shrunk(one).catch(() => null)));
  if (first === null || ofCards.includes(null)) say(words().clip.gonePicture);
  choose(choicesOf(video));
  if (recipe.cards.length > 0) {
    again(recipe.cards, Number(video.seconds), ofCards);
    return go("/storyboard");
  }
  detach();
  if (first) attach(first, "picture.png");
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
