// How a storyboard's video grows: the latest picture of each card, as the server shows them, and at the end its moments.

import { computed, effect, signal } from "@preact/signals";
import { contentUrl } from "./api";
import * as board from "./board";
import type { TileOf } from "./parts";
import { moments, previews, videoById } from "./state";

const COLUMNS = 6; // of the sheet of moments
const ROWS = 4;

const seen = signal<{ id: string | null; tiles: ReadonlyMap<number, TileOf> }>({ id: null, tiles: new Map() });

effect(() => {
  const id = board.result.value;
  const preview = id === null ? undefined : previews.value.get(id);
  const at = id === null ? [] : (moments.value.get(id) ?? []);
  const before = seen.peek();
  if (preview === undefined || at.length === 0) {
    if (before.id !== id) seen.value = { id, tiles: new Map() };
    return;
  }
  // Of a long video a preview has the cards of one part; what was seen of the others stays.
  const tiles = new Map(before.id === id ? before.tiles : []);
  at.forEach((moment, column) => {
    const index = board.placed.peek().findLastIndex((one) => one.begin - one.gap / 2 <= moment);
    if (index >= 0) tiles.set(index, { source: preview, column, columns: at.length, row: 0, rows: 1 });
  });
  seen.value = { id, tiles };
});

/** By the card's place. */
export const grown = computed<ReadonlyMap<number, TileOf>>(() => {
  const id = board.result.value;
  if (id === null) return new Map();
  if (videoById(id)?.status !== "completed") return seen.value.tiles;
  const total = board.total.value;
  return new Map(
    board.placed.value.map(({ begin, end }, index) => {
      const moment = Math.min(COLUMNS * ROWS - 1, Math.round(((begin + end) / 2 / total) * (COLUMNS * ROWS - 1)));
      const source = contentUrl(id, "spritesheet");
      return [index, { source, column: moment % COLUMNS, columns: COLUMNS, row: Math.floor(moment / COLUMNS), rows: ROWS }];
    }),
  );
});
