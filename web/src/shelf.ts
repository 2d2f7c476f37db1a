// Where videos lie and how they are found again: filters, folders, what is selected.

import { computed, signal } from "@preact/signals";
import { api, type Changed, type Folder, type Video } from "./api";
import { PAGE, hasMore, leaving, loadMore, loadingMore, parts, put, videoById, videos, watched } from "./state";

export interface Filters {
  search: string;
  status: "" | "unfinished" | "completed" | "failed";
  kind: string;
  model: string;
  folder: string; // an id, or NOWHERE, or empty for everywhere
  favourite: boolean;
}

export const NOWHERE = "-";
export const KINDS = ["prompt", "picture", "storyboard", "remix", "edit", "extend", "extend_back", "loop", "connect", "blend", "trim"];
export const noFilters: Filters = { search: "", status: "", kind: "", model: "", folder: "", favourite: false };

export const filters = signal<Filters>(noFilters);
export const folders = signal<readonly Folder[]>([]);
export const selected = signal<ReadonlySet<string>>(new Set());

/** As the API is asked; empty where everything is wanted. */
export const query = computed(() => {
  const { search, status, kind, model, folder, favourite } = filters.value;
  const asked = new URLSearchParams();
  if (search.trim()) asked.set("search", search.trim());
  if (status === "unfinished") for (const one of ["queued", "in_progress"]) asked.append("status", one);
  else if (status) asked.set("status", status);
  if (kind) asked.set("kind", kind);
  if (model) asked.set("model", model);
  if (folder) asked.set("folder", folder === NOWHERE ? "" : folder);
  if (favourite) asked.set("favourite", "true");
  return asked.toString();
});

interface Found {
  query: string;
  ids: readonly string[];
  more: boolean;
}
const found = signal<Found>({ query: "", ids: [], more: false });

/** What the filters let through. Until the server has said, what of the list before may stay; null if nothing may. */
export const shown = computed<readonly Video[] | null>(() => {
  if (query.value === "") return videos.value;
  const before = found.value.query === "" ? videos.value : found.value.ids.flatMap((id) => videoById(id) ?? []);
  const fitting = before.filter((video) => !leaving.value.has(video.id) && stillFits(video));
  return fitting.length > 0 || found.value.query === query.value ? fitting : null;
});
export const moreShown = computed(() => (query.value === "" ? hasMore.value : found.value.more));

/** What was changed here may have left the list that it is in. */
function stillFits(video: Video): boolean {
  const { folder, favourite } = filters.value;
  const lies = folder === "" || (folder === NOWHERE ? null : folder) === video.hibari.folder;
  return lies && (!favourite || video.hibari.favourite);
}

/** Ask for the first page; what was loaded of the same list stays behind it. */
export async function look(): Promise<void> {
  const asked = query.value;
  if (asked === "") return;
  const page = await watched(api.page(null, PAGE, asked));
  if (asked !== query.value) return; // it has changed meanwhile
  put(page.data);
  const ids = page.data.map((video) => video.id);
  const before = found.value.query === asked ? found.value.ids : [];
  const end = page.last_id === null ? -1 : before.indexOf(page.last_id);
  const rest = page.has_more && end >= 0 ? before.slice(end + 1) : [];
  found.value = { query: asked, ids: [...ids, ...rest], more: rest.length ? found.value.more : page.has_more };
}

export async function showMore(): Promise<void> {
  if (query.value === "") return loadMore();
  const { query: asked, ids, more } = found.value;
  const last = ids.at(-1);
  if (asked !== query.value || !more || last === undefined || loadingMore.value) return;
  loadingMore.value = true;
  try {
    const page = await watched(api.page(last, PAGE, asked));
    if (found.value.ids !== ids) return;
    put(page.data);
    found.value = { query: asked, ids: [...ids, ...page.data.map((video) => video.id)], more: page.has_more };
  } catch {
    // What went wrong is shown, and scrolling on tries again.
  } finally {
    loadingMore.value = false;
  }
}

export async function loadFolders(): Promise<void> {
  folders.value = (await watched(api.folders())).data;
  const { folder } = filters.value;
  if (folder !== "" && folder !== NOWHERE && !folders.value.some((one) => one.id === folder)) filter({ folder: "" });
}

export function filter(changed: Partial<Filters>): void {
  filters.value = { ...filters.value, ...changed };
  select([]);
}

export function select(ids: Iterable<string>): void {
  selected.value = new Set(ids);
}

let anchor = ""; // where a row that Shift selects begins

/** Select one more or one less; `through` takes all from the last one to this. */
export function pick(id: string, through = false): void {
  const ids = (shown.value ?? []).map((video) => video.id);
  const [from, to] = [ids.indexOf(anchor), ids.indexOf(id)].sort((a, b) => a - b) as [number, number];
  const next = new Set(selected.value);
  if (through && from >= 0) for (const one of ids.slice(from, to + 1)) next.add(one);
  else if (!next.delete(id)) next.add(id);
  anchor = id;
  selected.value = next;
}

/** Make favourites of them or not, or lay them somewhere. */
export async function change(ids: readonly string[], changed: Changed): Promise<void> {
  for (const some of parts(ids)) put((await watched(api.change(some, changed))).data);
  if (changed.folder !== undefined) await loadFolders();
}
