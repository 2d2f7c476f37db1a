// What the page knows: who asks, the models, and the videos, kept up to date by the server's events. The server is the
// only truth; whatever is here can be read again at any time.

import { computed, effect, signal } from "@preact/signals";
import { ApiError, Unreachable, api, type Model, type Page, type Session, type Video } from "./api";
import { readEvents } from "./events";

const PAGE = 48;
const REFRESH_MS = 4000; // places in the queue move without an event
const UNDO_MS = 6000;

export const session = signal<Session | null>(null);
export const models = signal<Model[]>([]);
export const phase = signal<"loading" | "ready" | "signed-out" | "failed">("loading");
export const offline = signal(false);
export const hasMore = signal(false);
export const loadingMore = signal(false);
/** The latest picture of a video that is being made, as a data: URL. */
export const previews = signal<ReadonlyMap<string, string>>(new Map());
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

const timers = new Map<string, ReturnType<typeof setTimeout>>();

/** Hide it now, and delete it when nobody has called `undoRemove` for a while. */
export function remove(id: string): void {
  leaving.value = new Set([...leaving.value, id]);
  timers.set(id, setTimeout(() => void removeNow(id), UNDO_MS));
}

export function undoRemove(id: string): void {
  clearTimeout(timers.get(id));
  timers.delete(id);
  leaving.value = new Set([...leaving.value].filter((other) => other !== id));
}

async function removeNow(id: string): Promise<void> {
  timers.delete(id);
  try {
    await watched(api.remove(id));
    forget(id);
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) forget(id);
  }
  undoRemove(id);
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

function put(changed: readonly Video[]): void {
  const next = new Map(known.value);
  for (const video of changed) next.set(video.id, video);
  known.value = next;
}

function forget(id: string): void {
  order.value = order.value.filter((other) => other !== id);
  known.value = new Map([...known.value].filter(([other]) => other !== id));
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

function take(kind: string, data: { id?: string; video?: Video; preview?: string }): void {
  if (kind === "deleted" && data.id !== undefined) return forget(data.id);
  const video = data.video;
  if (video === undefined) return;
  put([video]);
  if (!order.value.includes(video.id) && kind === "created") order.value = [video.id, ...order.value];
  if (data.preview !== undefined) previews.value = new Map(previews.value).set(video.id, data.preview);
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
    for (const id of timers.keys()) void api.remove(id);
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
    if (!offline.value || phase.value === "signed-out") return;
    const timer = setInterval(() => void (phase.value === "failed" ? start() : refresh()), REFRESH_MS);
    return () => clearInterval(timer);
  });
}
