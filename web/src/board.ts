// A storyboard as data: cards one after the other, every change a new list, so that each can be taken back.

import { computed, signal } from "@preact/signals";
import type { Fields, Recipe } from "./api";

export interface BoardCard {
  id: number;
  prompt: string;
  seconds: number;
  /** Seconds before it, in which what was there becomes it. The first card has none. */
  gap: number;
  /** A picture with which it begins, as a data: URL. */
  picture: string | null;
  /** A finished video that it shows, with its length. */
  video: { id: string; seconds: number } | null;
}

export interface Placed {
  card: BoardCard;
  gap: number;
  begin: number;
  end: number;
}

export const STEP_S = 0.5;
const LEAST_S = 0.5;
const MOST_CARDS = 24; // of the API, where a prompt and a picture are two
const MOST_KEPT = 100;
const GAP_S = 1;

interface Kept {
  cards: BoardCard[];
}

const blank: BoardCard = { id: 1, prompt: "", seconds: 2, gap: 0, picture: null, video: null };

function kept(): Kept {
  try {
    const found: { cards?: Partial<BoardCard>[] } = JSON.parse(localStorage.getItem("storyboard") ?? "{}");
    if (found.cards?.length) return { cards: found.cards.map((card) => ({ ...blank, ...card })) };
  } catch {
    // Somebody else's, or damaged: begin anew.
  }
  return { cards: [blank] };
}

const now = signal<Kept>(kept());
const past = signal<readonly Kept[]>([]);
const future = signal<readonly Kept[]>([]);
let gesture: string | null = null;

export const cards = computed(() => now.value.cards);
/** When each card begins and ends. */
export const placed = computed(() => {
  let end = 0;
  return cards.value.map((card, index): Placed => {
    const gap = index === 0 ? 0 : card.gap;
    const begin = end + gap;
    end = begin + card.seconds;
    return { card, gap, begin, end };
  });
});
export const total = computed(() => placed.value.at(-1)?.end ?? 0);
export const canUndo = computed(() => past.value.length > 0);
export const canRedo = computed(() => future.value.length > 0);
export const canAdd = computed(() => asked().length < MOST_CARDS && cards.value.length < MOST_CARDS);
export const selected = signal(now.value.cards[0]?.id ?? 1);
/** Seconds from the beginning to the playhead. */
export const playhead = signal(0);

/** The video that was made of the board; as long as the board is as it was. */
const made = signal<{ id: string; of: Kept } | null>(
  sessionStorage.getItem("storyboard-made") ? { id: sessionStorage.getItem("storyboard-made") ?? "", of: now.value } : null,
);
export const result = computed(() => (made.value?.of === now.value ? made.value.id : null));

export function wasMade(id: string): void {
  made.value = { id, of: now.value };
  sessionStorage.setItem("storyboard-made", id);
}

/** Changes of one gesture (typing into one card, one drag) are taken back together. */
function change(next: Kept, of: string | null = null): void {
  if (of === null || of !== gesture) past.value = [...past.value.slice(-MOST_KEPT), now.value];
  gesture = of;
  future.value = [];
  show(next);
}

function show(next: Kept): void {
  now.value = next;
  try {
    localStorage.setItem("storyboard", JSON.stringify(next));
  } catch {
    // Too many pictures for the browser: it still works, and does not survive a reload.
  }
  if (made.value?.of === next) sessionStorage.setItem("storyboard-made", made.value.id);
  else sessionStorage.removeItem("storyboard-made");
  if (!next.cards.some((card) => card.id === selected.value)) selected.value = next.cards.at(-1)?.id ?? 1;
  playhead.value = Math.min(playhead.value, total.value);
}

export function endGesture(): void {
  gesture = null;
}

export function undo(): void {
  const last = past.value.at(-1);
  if (last === undefined) return;
  future.value = [...future.value, now.value];
  past.value = past.value.slice(0, -1);
  endGesture();
  show(last);
}

export function redo(): void {
  const next = future.value.at(-1);
  if (next === undefined) return;
  past.value = [...past.value, now.value];
  future.value = future.value.slice(0, -1);
  endGesture();
  show(next);
}

const replace = (list: BoardCard[], of: string | null = null) => change({ cards: list }, of);
const indexOf = (id: number) => cards.value.findIndex((card) => card.id === id);
const freshId = () => Math.max(0, ...cards.value.map((card) => card.id)) + 1;
const stepped = (seconds: number) => Math.round(seconds / STEP_S) * STEP_S;
const lengthOf = (card: BoardCard, seconds: number) =>
  Math.max(LEAST_S, Math.min(stepped(seconds), card.video === null ? Infinity : Math.max(LEAST_S, card.video.seconds)));

function update(id: number, changed: Partial<BoardCard>, of: string | null = null): void {
  const card = cards.value.find((one) => one.id === id);
  if (card === undefined) return;
  const names = Object.keys(changed) as (keyof BoardCard)[];
  if (names.every((name) => card[name] === changed[name])) return;
  replace(
    cards.value.map((one) => (one.id === id ? { ...one, ...changed } : one)),
    of,
  );
}

export const describe = (id: number, prompt: string) => update(id, { prompt }, `describe ${id}`);
export const widen = (id: number, gap: number, of: string | null = null) =>
  update(id, { gap: Math.max(0, stepped(gap)) }, of);

export function stretch(id: number, seconds: number, of: string | null = null): void {
  const card = cards.value.find((one) => one.id === id);
  if (card !== undefined) update(id, { seconds: lengthOf(card, seconds) }, of);
}

export const setPicture = (id: number, picture: string | null) => update(id, { picture, video: null });

/** A finished video on a card: as long as it is, and with its words where the card has none. */
export function setVideo(id: number, video: { id: string; seconds: number; prompt: string } | null): void {
  const card = cards.value.find((one) => one.id === id);
  if (card === undefined) return;
  if (video === null) return update(id, { video: null });
  const shown = { id: video.id, seconds: video.seconds };
  const seconds = lengthOf({ ...card, video: shown }, video.seconds);
  update(id, { video: shown, picture: null, seconds, prompt: card.prompt || video.prompt });
}

/** To another place in the row. */
export function move(id: number, to: number, of: string | null = null): void {
  const from = indexOf(id);
  const place = Math.min(Math.max(to, 0), cards.value.length - 1);
  if (from === place) return;
  const list = [...cards.value];
  list.splice(place, 0, ...list.splice(from, 1));
  replace(list, of);
}

/** Drag a card to where it begins at `begin` seconds. The others stay where they were in `from`, as the drag began, unless
 * they have to make way: what is left between two cards is their transition. */
export function drag(id: number, begin: number, from: readonly Placed[]): void {
  const own = from.find((one) => one.card.id === id);
  if (own === undefined) return;
  const middle = begin + own.card.seconds / 2;
  const rest = from.filter((one) => one !== own);
  const before = rest.filter((one) => middle >= (one.begin + one.end) / 2);
  const list = [...before, { ...own, begin: stepped(begin) }, ...rest.slice(before.length)];
  const shift = before[0]?.begin ?? 0; // the row begins at 0
  let end = 0;
  const next = list.map((one, index) => {
    const at = index === 0 ? 0 : Math.max(end, one.begin - shift);
    const gap = index === 0 ? one.card.gap : stepped(at - end);
    end += (index === 0 ? 0 : gap) + one.card.seconds;
    return one.card.gap === gap ? one.card : { ...one.card, gap };
  });
  if (next.some((card, index) => card !== cards.value[index])) replace(next, `drag ${id}`);
}

export const placeOf = indexOf;

export function split(id: number): void {
  const index = indexOf(id);
  const card = cards.value[index];
  if (card === undefined || !canAdd.value || card.video !== null || card.seconds < 2 * LEAST_S) return;
  const half = Math.max(LEAST_S, stepped(card.seconds / 2));
  const rest = { ...card, id: freshId(), seconds: card.seconds - half, gap: 0, picture: null };
  if (rest.seconds < LEAST_S) return;
  replace([...cards.value.slice(0, index), { ...card, seconds: half }, rest, ...cards.value.slice(index + 1)]);
}

export function duplicate(id: number): void {
  const index = indexOf(id);
  const card = cards.value[index];
  if (card === undefined || !canAdd.value) return;
  const copy = { ...card, id: freshId() };
  replace([...cards.value.slice(0, index + 1), copy, ...cards.value.slice(index + 1)]);
  selected.value = copy.id;
}

export function add(): void {
  if (!canAdd.value) return;
  const card = { ...blank, id: freshId(), gap: GAP_S };
  replace([...cards.value, card]);
  selected.value = card.id;
}

export function drop(id: number): void {
  if (cards.value.length === 1) return;
  const index = indexOf(id);
  replace(cards.value.filter((card) => card.id !== id));
  selected.value = cards.value[Math.min(index, cards.value.length - 1)]?.id ?? 1;
}

/** The board of a video that was made of one; `pictures` are those of its cards, in their order, null for one that is gone. */
export function again(said: Recipe["cards"], seconds: number, pictures: readonly (string | null)[]): void {
  const left = [...pictures];
  const list: BoardCard[] = [];
  const begins: number[] = [];
  for (const card of said) {
    const gap = list.length === 0 ? 0 : (card.transition_s ?? 0);
    const begin = card.at_s + gap / 2;
    const video = card.video === null ? null : { id: card.video, seconds: card.seconds ?? LEAST_S };
    const picture = card.picture ? (left.shift() ?? null) : null;
    // Words and what is shown with them are two cards of the API.
    if (list.length > 0 && begins.at(-1) === begin) list.push({ ...(list.pop() ?? blank), picture, video });
    else {
      list.push({ ...blank, id: list.length + 1, prompt: card.prompt, gap, picture, video });
      begins.push(begin);
    }
  }
  replace(
    list.map((card, index) => ({
      ...card,
      seconds: lengthOf(card, (begins[index + 1] ?? seconds) - (list[index + 1]?.gap ?? 0) - (begins[index] ?? 0)),
    })),
  );
}

/** As the API takes it: a gap is a transition around its middle, and what is given begins where the card does. */
export function asked(): Fields[] {
  return placed.value.flatMap(({ card, gap, begin }) => {
    const said: Fields[] = [];
    if (card.prompt.trim()) said.push({ at_s: begin - gap / 2, prompt: card.prompt, transition_s: gap });
    if (card.picture !== null) said.push({ at_s: begin, image_url: card.picture });
    if (card.video !== null) said.push({ at_s: begin, video: { id: card.video.id }, seconds: card.seconds });
    return said;
  });
}

/** The first card that does not say enough: a prompt, or what it shows; the first one needs words for all that follow. */
export function incomplete(): BoardCard | undefined {
  return cards.value.find(
    (card, index) => !card.prompt.trim() && (index === 0 || (card.picture === null && card.video === null)),
  );
}
