// Accounts, keys, webhooks and the running of the service: the API as these pages use it, and figures for people.

import { useEffect, useState } from "preact/hooks";
import { call, type Session } from "./api";
import { reason } from "./parts";
import { session, watched } from "./state";
import { language, words } from "./strings";

export type Role = "admin" | "reviewer" | "member";

export interface Limits {
  max_running: number | null;
  max_queued: number | null;
  max_stored_bytes: number | null;
}

export interface Account {
  id: string;
  name: string;
  role: Role | null;
  created_at: number;
  paused_at: number | null;
  limits: Limits;
  own_limits: Limits;
  usage: { running: number; queued: number; completed: number; stored_bytes: number; made_seconds: number };
}

export interface Key {
  id: string;
  name: string;
  prefix: string;
  role: Role;
  scopes: string[];
  status: "active" | "paused" | "expired" | "revoked";
  expires_at: number | null;
  last_used_at: number | null;
}

export interface Hook {
  id: string;
  name: string;
  url: string;
  event_types: string[];
  enabled: boolean;
}

export interface Delivery {
  id: string;
  status: string;
  event: { type: string };
  created_at: number;
  next_attempt_at: number | null;
  attempts: { at: number; duration_ms: number; status_code: number | null; error: string | null }[];
}

export interface Queue {
  paused_at: number | null;
  counts: Record<string, number>;
  oldest_queued_seconds: number;
}

export interface QueuedVideo {
  id: string;
  account_id: string;
  account_name: string;
  model: string;
  status: "queued" | "running" | "completed" | "failed" | "cancelled";
  priority: number;
  progress: number;
  attempt: number;
  created_at: number;
  cancel_requested: boolean;
  error_code: string | null;
}

export interface ModelState {
  id: string;
  summary: string;
  is_default: boolean;
  licence: string;
  weights_bytes: number | null;
  problem: string | null;
  workers: number;
  running: number;
  queued: number;
  completed: number;
  failed: number;
}

export interface ModelStates {
  data: ModelState[];
  machine: { name: string; ok: boolean | null; text: string }[];
}

export interface StorageState {
  free_bytes: number | null;
  reserve_bytes: number;
  used_bytes: number;
  kept_seconds: number | null;
  accounts: { account_id: string; account_name: string; stored_bytes: number; max_stored_bytes: number | null }[];
  sweeper: { waiting_videos: number; waiting_bytes: number; oldest_seconds: number };
}

export interface AuditEntry {
  id: number;
  at: number;
  via: "api" | "cli";
  actor_name: string;
  key_prefix: string | null;
  action: string;
  target_id: string | null;
  target_name: string | null;
  details: Record<string, unknown>;
}

export interface Pages<Item> {
  data: Item[];
  last_id: string | number | null;
  has_more: boolean;
}

type Secret = { secret: string };
type Asked = Record<string, unknown>;

const get = <T>(path: string) => watched(call<T>("GET", path));
const post = <T>(path: string, body?: Asked) => watched(call<T>("POST", path, body));
const drop = <T>(path: string) => watched(call<T>("DELETE", path));
const query = (values: Record<string, string | number | null>) =>
  Object.entries(values)
    .filter(([, value]) => value !== null && value !== "")
    .map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`)
    .join("&");

export const people = {
  account: () => get<Account>("/account"),
  keys: () => get<{ data: Key[] }>("/account/keys"),
  createKey: (wish: Asked) => post<Key & Secret>("/account/keys", wish),
  revokeKey: (id: string) => drop<Key>(`/account/keys/${id}`),
  hooks: () => get<{ data: Hook[] }>("/webhook_endpoints?limit=100"),
  createHook: (wish: Asked) => post<Hook & { signing_secret: string }>("/webhook_endpoints", wish),
  changeHook: (id: string, wish: Asked) => post<Hook>(`/webhook_endpoints/${id}`, wish),
  removeHook: (id: string) => drop<unknown>(`/webhook_endpoints/${id}`),
  deliveries: (id: string, after: string | number | null) =>
    get<Pages<Delivery>>(`/webhook_endpoints/${id}/deliveries?${query({ limit: 10, after })}`),
  replay: (id: string, event: string) => post<Delivery>(`/webhook_endpoints/${id}/deliveries/${event}/replay`),
};

export const admin = {
  accounts: () => get<Pages<Account>>("/admin/accounts"),
  create: (wish: Asked) => post<Account>("/admin/accounts", wish),
  change: (id: string, wish: Asked) => post<Account>(`/admin/accounts/${id}`, wish),
  remove: (id: string) => drop<unknown>(`/admin/accounts/${id}`),
  pause: (id: string, on: boolean) => post<Account>(`/admin/accounts/${id}/${on ? "pause" : "resume"}`),
  keys: (id: string) => get<{ data: Key[] }>(`/admin/accounts/${id}/keys`),
  createKey: (id: string, wish: Asked) => post<Key & Secret>(`/admin/accounts/${id}/keys`, wish),
  revokeKey: (id: string, key: string) => drop<Key>(`/admin/accounts/${id}/keys/${key}`),
  queue: () => get<Queue>("/admin/queue"),
  pauseAll: (on: boolean) => post<Queue>(`/admin/queue/${on ? "pause" : "resume"}`),
  videos: (states: readonly string[], after: string | number | null) =>
    get<Pages<QueuedVideo>>(`/admin/videos?${query({ limit: 50, after })}${states.map((one) => `&status=${one}`).join("")}`),
  prioritise: (id: string, priority: number) => post<QueuedVideo>(`/admin/videos/${id}`, { priority }),
  cancel: (id: string) => post<QueuedVideo>(`/admin/videos/${id}/cancel`),
  models: () => get<ModelStates>("/admin/models"),
  storage: () => get<StorageState>("/admin/storage"),
  audit: (action: string, account: string, after: string | number | null) =>
    get<Pages<AuditEntry>>(`/admin/audit?${query({ limit: 50, after, action, account_id: account })}`),
};

export const may = (scope: string, who: Session | null = session.value) => who?.scopes.includes(scope) ?? false;

/** What a call gives, read again on `reload` and, with `everyMs`, by itself while somebody looks. */
export function useLoaded<T>(load: () => Promise<T>, inputs: readonly unknown[] = [], everyMs = 0) {
  const [value, setValue] = useState<T | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const reload = () =>
    load().then(
      (found) => {
        setValue(() => found);
        setProblem(null);
      },
      (error: unknown) => setProblem(reason(error)),
    );
  useEffect(() => {
    void reload();
    if (everyMs === 0) return;
    const timer = setInterval(() => document.visibilityState === "visible" && void reload(), everyMs);
    return () => clearInterval(timer);
  }, inputs);
  return { value, problem, reload };
}

export function bytes(count: number): string {
  const unit = count >= 1e9 ? "GB" : "MB";
  const many = count / (unit === "GB" ? 1e9 : 1e6);
  return `${many.toLocaleString(language.value, { maximumFractionDigits: many < 10 ? 1 : 0 })} ${unit}`;
}

export function moment(seconds: number): string {
  return new Date(seconds * 1000).toLocaleString(language.value, { dateStyle: "medium", timeStyle: "short" });
}

/** "3 min ago" and the like. */
export function ago(seconds: number): string {
  const passed = seconds - Date.now() / 1000;
  if (passed > -60) return words().people.now;
  const relative = new Intl.RelativeTimeFormat(language.value, { numeric: "auto" });
  if (passed > -3600) return relative.format(Math.round(passed / 60), "minute");
  if (passed > -86400) return relative.format(Math.round(passed / 3600), "hour");
  return relative.format(Math.round(passed / 86400), "day");
}
