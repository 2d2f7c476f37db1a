// A storyboard as data: cards one after the other, every change a new list, so that each can be taken back.

import { computed, signal } from "@preact/signals";

export interface BoardCard {
  id: number;
  prompt: string;
  seconds: number;
}

export const STEP_S = 0.5;
const LEAST_S = 0.5;
const MOST_CARDS = 24;
const MOST_KEPT = 100;

interface Kept {
  cards: BoardCard[];
  transition: number;
}

const first: Kept = { cards: [{ id: 1, prompt: "", seconds: 2 }], transition: 1 };

function kept(): Kept {
  try {
    const found: Partial<Kept> = JSON.parse(localStorage.getItem("storyboard") ?? "{}");
    return found.cards?.length ? { ...first, ...found } : first;
  } catch {
    return first;
  }
}

const now = signal<Kept>(kept());
const past = signal<readonly Kept[]>([]);
const future = signal<readonly Kept[]>([]);
let gesture: string | null = null;

export const cards = computed(() => now.value.cards);
export const transition = computed(() => now.value.transition);
export const total = computed(() => cards.value.reduce((sum, card) => sum + card.seconds, 0));
export const canUndo = computed(() => past.value.length > 0);
export const canRedo = computed(() => future.value.length > 0);
export const canAdd = computed(() => cards.value.length < MOST_CARDS);
export const selected = signal(now.value.cards[0]?.id ?? 1);

/** Changes of one gesture (typing into one card, one drag) are taken back together. */
function change(next: Kept, of: string | null = null): void {
  if (of === null || of !== gesture) past.value = [...past.value.slice(-MOST_KEPT), now.value];
  gesture = of;
  future.value = [];
  show(next);
}

function show(next: Kept): void {
  now.value = next;
  localStorage.setItem("storyboard", JSON.stringify(next));
  if (!next.cards.some((card) => card.id === selected.value)) selected.value = next.cards.at(-1)?.id ?? 1;
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

const replace = (list: BoardCard[], of: string | null = null) => change({ ...now.value, cards: list }, of);
const indexOf = (id: number) => cards.value.findIndex((card) => card.id === id);
const freshId = () => Math.max(0, ...cards.value.map((card) => card.id)) + 1;
const round = (seconds: number) => Math.max(LEAST_S, Math.round(seconds / STEP_S) * STEP_S);

/** When a card begins, in seconds. */
export function beginOf(id: number): number {
  return cards.value.slice(0, indexOf(id)).reduce((sum, card) => sum + card.seconds, 0);
}

export function describe(id: number, prompt: string): void {
  replace(
    cards.value.map((card) => (card.id === id ? { ...card, prompt } : card)),
    `describe ${id}`,
  );
}

export function stretch(id: number, seconds: number, of: string | null = null): void {
  const wanted = round(seconds);
  if (cards.value.find((card) => card.id === id)?.seconds === wanted) return;
  replace(
    cards.value.map((card) => (card.id === id ? { ...card, seconds: wanted } : card)),
    of,
  );
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

export const placeOf = indexOf;

export function split(id: number): void {
  const index = indexOf(id);
  const card = cards.value[index];
  if (card === undefined || !canAdd.value || card.seconds < 2 * LEAST_S) return;
  const half = round(card.seconds / 2);
  const rest = { ...card, id: freshId(), seconds: card.seconds - half };
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
  const card = { id: freshId(), prompt: "", seconds: 2 };
  replace([...cards.value, card]);
  selected.value = card.id;
}

export function drop(id: number): void {
  if (cards.value.length === 1) return;
  const index = indexOf(id);
  replace(cards.value.filter((card) => card.id !== id));
  selected.value = cards.value[Math.min(index, cards.value.length - 1)]?.id ?? 1;
}

export function setTransition(seconds: number): void {
  change({ ...now.value, transition: seconds }, "transition");
}
