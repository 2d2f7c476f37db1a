// What the page knows: who asks, the models, and the videos, kept up to date by the server's events. The server is the
// only truth; whatever is here can be read again at any time.

import { batch, computed, effect, signal } from "@preact/signals";
import { AT_ONCE, ApiError, Unreachable, api, type Model, type Page, type Session, type Video } from "./api";
import { readEvents } from "./events";

export const PAGE = 48;
const REFRESH_MS = 4000; // places in the queue move without an event
const IDLE_MS = 20_000; // somebody may make a video elsewhere, and a server may go
const UNDO_MS = 6000;

export const session = signal<Session | null>(null);
export const models = signal<Model[]>([]);
export const phase = signal<"loading" | "ready" | "signed-out" | "failed">("loading");
export const offline = signal(false);
export const hasMore = signal(false);
export const loadingMore = signal(false);
/** The latest picture of a video that is being made, as a data: URL. */
export const previews = signal<ReadonlyMap<string, string>>(new Map());
/** The moments (s) that a preview of a storyboard shows side by side. */
export const moments = signal<ReadonlyMap<string, readonly number[]>>(new Map());
/** Videos that are about to be deleted. */
export const leaving = signal<ReadonlySet<string>>(new Set());

const known = signal<ReadonlyMap<string, Video>>(new Map());
const order = signal<readonly string[]>([]); // the newest first, without a gap
const visible = signal(document.visibilityState === "visible");

export const videos = computed(() =>
  order.value.filter((id) => !leaving.value.has(id)).flatMap((id) => known.value.get(id) ?? []),
);
export const finished = computed(() => videos.value.filter((video) => video.status === "completed"));
const anyUnfinished = computed(() => videos.value.some(isUnfinished));

export const videoById = (id: string) => known.value.get(id);
export const isUnfinished = (video: Video) => video.status === "queued" || video.status === "in_progress";

/** Read everything, as at first. */
export async function start(): Promise<void> {
  phase.value = "loading";
  try {
    [session.value, models.value] = await Promise.all([
      api.session(),
      api.models().then((answer) => answer.data.filter((model) => model.stands_for === null)),
    ]);
    takeFirst(await api.page(null, PAGE));
    offline.value = false;
    phase.value = "ready";
  } catch (error) {
    phase.value = isSignedOut(error) ? "signed-out" : "failed";
    if (error instanceof Unreachable) offline.value = true;
  }
}

export async function loadMore(): Promise<void> {
  const last = order.value.at(-1);
  if (!hasMore.value || loadingMore.value || last === undefined) return;
  loadingMore.value = true;
  try {
    const page = await watched(api.page(last, PAGE));
    put(page.data);
    order.value = [...order.value, ...page.data.map((video) => video.id).filter((id) => !order.value.includes(id))];
    hasMore.value = page.has_more;
  } catch {
    // What went wrong is shown, and scrolling on tries again.
  } finally {
    loadingMore.value = false;
  }
}

/** A video that was just made, with its variations. */
export async function made(video: Video): Promise<void> {
  put([video]);
  if (!order.value.includes(video.id)) order.value = [video.id, ...order.value];
  await refresh();
}

export async function refresh(): Promise<void> {
  try {
    takeFirst(await watched(api.page(null, PAGE)));
  } catch {
    // Shown by what `watched` has set; the next refresh tries again.
  }
}

/** A video that may not be in the list; null where there is none. */
export async function fetchVideo(id: string): Promise<Video | null> {
  try {
    const video = await watched(api.video(id));
    put([video]);
    return video;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}

export async function cancel(id: string): Promise<void> {
  put([await watched(api.cancel(id))]);
}

const timers = new Map<readonly string[], ReturnType<typeof setTimeout>>();

/** Hide them now, and delete them when nobody has called `undoRemove` with the same list for a while. */
export function remove(ids: readonly string[]): void {
  leaving.value = new Set([...leaving.value, ...ids]);
  timers.set(ids, setTimeout(() => void removeNow(ids), UNDO_MS));
}

export function undoRemove(ids: readonly string[]): void {
  clearTimeout(timers.get(ids));
  timers.delete(ids);
  leaving.value = new Set([...leaving.value].filter((id) => !ids.includes(id)));
}

async function removeNow(ids: readonly string[]): Promise<void> {
  timers.delete(ids);
  for (const some of parts(ids)) {
    try {
      await watched(api.remove(some));
      forget(some);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) forget(some);
    }
  }
  undoRemove(ids);
}

/** As many as one request takes. */
export function parts<T>(all: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(all.length / AT_ONCE) }, (_, n) => all.slice(n * AT_ONCE, (n + 1) * AT_ONCE));
}

export function signedOut(): void {
  session.value = null;
  known.value = new Map();
  order.value = [];
  previews.value = new Map();
  phase.value = "signed-out";
}

/** Pass an answer on, and notice whether the server could be reached and still knows us. */
export async function watched<T>(answer: Promise<T>): Promise<T> {
  try {
    const value = await answer;
    offline.value = false;
    return value;
  } catch (error) {
    if (error instanceof Unreachable) offline.value = true;
    if (isSignedOut(error)) signedOut();
    throw error;
  }
}

const isSignedOut = (error: unknown) => error instanceof ApiError && error.status === 401;

export function put(changed: readonly Video[]): void {
  const next = new Map(known.value);
  for (const video of changed) next.set(video.id, video);
  known.value = next;
}

function forget(ids: readonly string[]): void {
  const gone = new Set(ids);
  order.value = order.value.filter((id) => !gone.has(id));
  known.value = new Map([...known.value].filter(([id]) => !gone.has(id)));
}

/** The first page takes the place of all that it covers. */
function takeFirst(page: Page): void {
  put(page.data);
  const ids = page.data.map((video) => video.id);
  const end = page.last_id === null ? -1 : order.value.indexOf(page.last_id);
  const rest = page.has_more && end >= 0 ? order.value.slice(end + 1) : [];
  order.value = [...ids, ...rest.filter((id) => !ids.includes(id))];
  if (rest.length === 0) hasMore.value = page.has_more;
}

let place: string | null = null; // the last event's id

async function follow(signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      for await (const event of readEvents("/v1/events", place, signal)) {
        offline.value = false;
        place = event.id ?? place;
        take(event.kind, JSON.parse(event.data));
      }
      if (signal.aborted) return;
      await refresh(); // nothing is left, the server says
    } catch (error) {
      if (signal.aborted) return;
      if (isSignedOut(error)) return signedOut();
      if (error instanceof Unreachable) offline.value = true;
      else place = null;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

function take(kind: string, data: { id?: string; video?: Video; preview?: string; moments_s?: number[] }): void {
  if (kind === "deleted" && data.id !== undefined) return forget([data.id]);
  const video = data.video;
  if (video === undefined) return;
  put([video]);
  if (!order.value.includes(video.id) && kind === "created") order.value = [video.id, ...order.value];
  const { preview } = data;
  if (preview === undefined) return;
  batch(() => {
    moments.value = new Map(moments.value).set(video.id, data.moments_s ?? []);
    previews.value = new Map(previews.value).set(video.id, preview);
  });
}

/** Follow the server while there is something to follow and somebody looks. */
export function keepUpToDate(): void {
  document.addEventListener("visibilitychange", () => {
    visible.value = document.visibilityState === "visible";
    if (visible.value && phase.value === "ready") void refresh();
  });
  addEventListener("online", () => void (phase.value === "failed" ? start() : refresh()));
  addEventListener("offline", () => {
    offline.value = true;
  });
  addEventListener("pagehide", () => {
    for (const some of parts([...timers.keys()].flat())) void api.remove(some);
  });
  effect(() => {
    if (phase.value !== "ready" || !visible.value || !anyUnfinished.value) return;
    const stop = new AbortController();
    void follow(stop.signal);
    const timer = setInterval(() => void refresh(), REFRESH_MS);
    return () => {
      stop.abort();
      clearInterval(timer);
    };
  });
  effect(() => {
    if (phase.value !== "ready" || !visible.value || anyUnfinished.value || offline.value) return;
    const timer = setInterval(() => void refresh(), IDLE_MS);
    return () => clearInterval(timer);
  });
  effect(() => {
    if (!offline.value || phase.value === "signed-out") return;
    const timer = setInterval(() => void (phase.value === "failed" ? start() : refresh()), REFRESH_MS);
    return () => clearInterval(timer);
  });
}
