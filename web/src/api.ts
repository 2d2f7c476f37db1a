// The API as the studio uses it. Every refusal is an ApiError; no answer at all is an Unreachable.

export type Status = "queued" | "in_progress" | "completed" | "failed";

export interface Card {
  at_s: number;
  prompt: string;
}

export interface Recipe {
  negative_prompt: string | null;
  guidance_scale: number | null;
  sampler: string | null;
  preset: string | null;
  strength: string | null;
  curve: string | null;
  added_s: number | null;
  transition_s: number | null;
  picture: boolean;
  /** Numbers of the first and the last frame that a trim kept. */
  kept: [number, number] | null;
  cards: (Card & { picture: boolean; video: string | null; seconds: number | null; transition_s: number | null })[];
}

export interface Video {
  id: string;
  model: string;
  status: Status;
  progress: number;
  created_at: number;
  completed_at: number | null;
  error: { code: string; message: string } | null;
  prompt: string;
  remixed_from_video_id: string | null;
  seconds: string;
  size: string;
  hibari: {
    model: string;
    tool: string | null;
    seed: number | null;
    steps: number | null;
    step: number;
    fps: number | null;
    frames: number | null;
    native_size: string | null;
    postprocess: string[];
    queue_position: number | null;
    seconds_left: number | null;
    sources: string[];
    kind: string;
    folder: string | null;
    favourite: boolean;
    sample: boolean;
    recipe: Recipe;
    variations: string[] | null;
  };
}

export interface Page {
  data: Video[];
  last_id: string | null;
  has_more: boolean;
}

export interface Lineage {
  data: Video[]; // the video itself first
  missing: string[];
  has_more: boolean;
}

export interface Folder {
  id: string;
  name: string;
  videos: number;
}

export interface Model {
  id: string;
  summary: string;
  stands_for: string | null;
  is_default: boolean;
  sizes: string[];
  default_seconds: number;
  default_steps: number;
  default_guidance_scale: number;
  max_seconds: number;
  presets: Preset[];
}

/** A published way to run a model. Of a `fixed` one, steps and guidance are its own. */
export interface Preset {
  name: string;
  summary: string;
  steps: number;
  guidance_scale: number;
  fixed: boolean;
  missing: string | null;
}

export interface Session {
  account: { id: string; name: string };
  key: string | null;
  scopes: string[];
}

/** What a model will make of a prompt. Not `ready`: ask again in a moment. Not `available`: nobody knows its words. */
export interface PromptHelp {
  available: boolean;
  ready: boolean;
  words: {
    text: string;
    kind: string | null;
    status: "known" | "close" | "far" | "unread" | "ignored";
    nearest: string | null;
    also: string | null;
  }[];
  missing: { kind: string; text: string; options: string[] }[];
  limits: string[];
  suggestion: string;
}

export interface Forecast {
  queue_position: number;
  seconds: number | null;
  measured: boolean;
}

/** What is not given stays; an empty folder is none. */
export interface Changed {
  favourite?: boolean;
  folder?: string;
}

/** Videos that one request changes. */
export const AT_ONCE = 100;

export type Fields = Record<string, unknown>;

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly param: string | null,
  ) {
    super(message);
  }
}

export class Unreachable extends Error {}

const ATTEMPTS = 3;
const PAUSE_MS = 400;

export const api = {
  session: () => call<Session>("GET", "/session"),
  signIn: (key: string) => call<Session>("POST", "/session", { key }),
  signOut: () => call<void>("DELETE", "/session"),
  models: () => call<{ data: Model[] }>("GET", "/models"),
  /** `wanted` is a query such as `favourite=true&search=cat`. */
  page: (after: string | null, limit: number, wanted = "") => {
    const query = new URLSearchParams(wanted);
    query.set("limit", String(limit));
    if (after !== null) query.set("after", after);
    return call<Page>("GET", `/videos?${query}`);
  },
  video: (id: string) => call<Video>("GET", `/videos/${encodeURIComponent(id)}`),
  cancel: (id: string) => call<Video>("POST", `/videos/${id}/cancel`),
  again: (id: string) => call<Video>("POST", `/videos/${id}/again`, undefined, true),
  promptHelp: (fields: Fields) => call<PromptHelp>("POST", "/prompt_help", fields),
  trim: (id: string, first_frame: number, last_frame: number) =>
    call<Video>("POST", `/videos/${id}/trim`, { first_frame, last_frame }, true),
  forecast: (fields: Fields) => call<Forecast>("POST", "/videos/forecast", fields),
  make: (path: string, fields: Fields, files: Record<string, Blob> = {}) =>
    call<Video>("POST", `/videos${path}`, Object.keys(files).length ? form(fields, files) : fields, true),
  /** At most AT_ONCE; also while the page goes away. */
  remove: (ids: readonly string[]) =>
    call<unknown>("DELETE", `/videos?${new URLSearchParams(ids.map((id) => ["id", id]))}`),
  /** At most AT_ONCE. */
  change: (ids: readonly string[], changed: Changed) =>
    call<{ data: Video[] }>("POST", "/videos/change", { ids, ...changed }),
  lineage: (id: string) => call<Lineage>("GET", `/videos/${encodeURIComponent(id)}/lineage`),
  folders: () => call<{ data: Folder[] }>("GET", "/folders"),
  newFolder: (name: string) => call<Folder>("POST", "/folders", { name }),
  renameFolder: (id: string, name: string) => call<Folder>("POST", `/folders/${id}`, { name }),
  removeFolder: (id: string) => call<unknown>("DELETE", `/folders/${id}`),
};

export type Variant = "video" | "thumbnail" | "spritesheet" | "gif" | "webp";

export function contentUrl(id: string, variant: Variant = "video"): string {
  return `/v1/videos/${encodeURIComponent(id)}/content${variant === "video" ? "" : `?variant=${variant}`}`;
}

/** A file of a video. */
export const content = (id: string, variant: Variant) => file(contentUrl(id, variant));

/** A picture that it was made of: the first frame, then those of the cards, from 0. */
export const picture = (id: string, number: number) =>
  file(`/v1/videos/${encodeURIComponent(id)}/pictures/${number}`);

async function file(url: string): Promise<Blob> {
  let answer: Response;
  try {
    answer = await fetch(url);
    if (answer.ok) return await answer.blob();
  } catch {
    throw new Unreachable();
  }
  throw await refusal(answer);
}

/** `once`: a repetition after a lost answer makes no second video. */
export async function call<T>(method: string, path: string, body?: Fields | FormData, once = false): Promise<T> {
  const headers: Record<string, string> = {};
  if (once) headers["Idempotency-Key"] = randomKey();
  const isForm = body instanceof FormData;
  if (body !== undefined && !isForm) headers["Content-Type"] = "application/json";
  const sent: RequestInit = { method, headers, keepalive: method === "DELETE" };
  if (body !== undefined) sent.body = isForm ? body : JSON.stringify(body);
  for (let attempt = 1; ; attempt++) {
    let answer: Response;
    try {
      answer = await fetch(`/v1${path}`, sent);
    } catch {
      if (attempt >= ATTEMPTS || !(once || method === "GET")) throw new Unreachable();
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * attempt));
      continue;
    }
    if (answer.ok) return (answer.status === 204 ? undefined : await answer.json()) as T;
    throw await refusal(answer);
  }
}

export async function refusal(answer: Response): Promise<ApiError> {
  try {
    const { error } = await answer.json();
    return new ApiError(answer.status, error.code, error.message, error.param);
  } catch {
    return new ApiError(answer.status, "server_error", `${answer.status} ${answer.statusText}`, null);
  }
}

function form(fields: Fields, files: Record<string, Blob>): FormData {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    data.append(name, typeof value === "object" ? JSON.stringify(value) : String(value));
  }
  for (const [name, file] of Object.entries(files)) data.append(name, file);
  return data;
}

// crypto.randomUUID is missing where the page came over plain HTTP from another machine.
function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
