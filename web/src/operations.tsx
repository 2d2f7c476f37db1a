// How the service runs: its queue, models, storage, and who did what.

import { useState } from "preact/hooks";
import { Problem, Select, reason, say } from "./parts";
import {
  ago,
  admin,
  bytes,
  may,
  moment,
  useLoaded,
  type AuditEntry,
  type Pages,
  type QueuedVideo,
} from "./people";
import { duration, words } from "./strings";

const UNFINISHED = ["queued", "running"];
const EVERY_MS = 4_000;
const STUCK_S = 60;

export function QueueRoom() {
  const { people: t } = words();
  const [show, setShow] = useState<"unfinished" | "all">("unfinished");
  const queue = useLoaded(admin.queue, [], EVERY_MS);
  const videos = useLoaded(() => admin.videos(show === "all" ? [] : UNFINISHED, null), [show], EVERY_MS);
  const older = useOlder((after: string | number) => admin.videos(show === "all" ? [] : UNFINISHED, after), videos.value, show);
  const paused = queue.value?.paused_at ?? null;
  const turn = () =>
    admin.pauseAll(paused === null).then(
      () => queue.reload(),
      (error: unknown) => say(reason(error)),
    );
  const shown = older.shown;
  return (
    <>
      <Problem text={queue.problem ?? videos.problem} />
      {paused !== null && <p class="notice">{t.queue.paused(moment(paused))}</p>}
      {queue.value !== null && (
        <dl class="figures">
          {(["queued", "running", "completed", "failed", "cancelled"] as const).map((state) => (
            <div key={state}>
              <dt>{t.queue.status[state]}</dt>
              <dd>{queue.value?.counts[state] ?? 0}</dd>
            </div>
          ))}
        </dl>
      )}
      {queue.value !== null && queue.value.oldest_queued_seconds > 0 && (
        <p class="hint">{t.queue.oldest(duration(queue.value.oldest_queued_seconds))}</p>
      )}
      <div class="bar">
        <Select
          label={t.queue.show}
          value={show}
          options={[["unfinished", t.queue.unfinished] as const, ["all", t.queue.all] as const]}
          onChange={setShow}
        />
        {may("admin") && (
          <button type="button" class="quiet" onClick={() => void turn()}>
            {paused === null ? t.queue.pauseAll : t.queue.resumeAll}
          </button>
        )}
      </div>
      {videos.value !== null && shown.length === 0 && <p class="hint">{t.queue.empty}</p>}
      <ul class="rows">
        {shown.map((video) => (
          <QueueRow key={video.id} video={video} reload={() => Promise.all([videos.reload(), queue.reload()])} />
        ))}
      </ul>
      {older.button}
    </>
  );
}

function QueueRow({ video, reload }: { video: QueuedVideo; reload: () => Promise<unknown> }) {
  const { people: t } = words();
  const unfinished = UNFINISHED.includes(video.status);
  const said = (error: unknown) => say(reason(error));
  const facts = [
    video.account_name,
    video.model,
    t.queue.age(duration(Math.max(1, Date.now() / 1000 - video.created_at))),
    video.status === "running" ? `${video.progress} %` : "",
    video.attempt > 1 ? t.queue.attempt(video.attempt) : "",
    video.error_code ?? "",
    unfinished && video.cancel_requested ? t.queue.stopping : "",
  ];
  return (
    <li data-video={video.id}>
      <span class="name">
        <code>{video.id.slice(0, 14)}</code>
        <span class="tag">{t.queue.status[video.status]}</span>
      </span>
      <span class="facts">{facts.filter(Boolean).join(" · ")}</span>
      {unfinished && may("admin") && (
        <span class="beside">
          <label class="priority">
            {t.queue.priorityLabel}
            <input
              type="number"
              min="-1000"
              max="1000"
              aria-label={t.queue.priority(video.id)}
              value={video.priority}
              onChange={(event) => {
                void admin.prioritise(video.id, Number(event.currentTarget.value)).then(reload, said);
              }}
            />
          </label>
          <button
            type="button"
            class="quiet"
            aria-label={t.queue.cancelNamed(video.id)}
            onClick={() => void admin.cancel(video.id).then(reload, said)}
          >
            {t.cancel}
          </button>
        </span>
      )}
    </li>
  );
}

export function ModelRoom() {
  const { people: t } = words();
  const { value, problem } = useLoaded(admin.models, [], EVERY_MS);
  return (
    <>
      <Problem text={problem} />
      <ul class="rows">
        {value?.data.map((model) => (
          <li key={model.id}>
            <span class="name">
              {model.id}
              <span class={model.problem === null ? "tag" : "tag loud"}>
                {model.problem === null ? t.models.ready : t.models.missing}
              </span>
              {model.is_default && <span class="tag">{t.models.isDefault}</span>}
            </span>
            <span class="facts">
              {[
                model.problem ?? "",
                model.weights_bytes === null ? t.models.noWeights : t.models.weights(bytes(model.weights_bytes)),
                model.licence,
                model.workers > 0 ? t.models.atWork(model.workers) : t.models.idle,
                t.models.counts(model.running, model.queued, model.completed, model.failed),
              ]
                .filter(Boolean)
                .join(" · ")}
            </span>
          </li>
        ))}
      </ul>
      {value !== null && (
        <>
          <h3>{t.models.machine}</h3>
          <dl class="recipe">
            {value.machine.map((fact) => (
              <div key={fact.name}>
                <dt>{fact.name}</dt>
                <dd class={fact.ok === false ? "too-much" : undefined}>{fact.text}</dd>
              </div>
            ))}
          </dl>
        </>
      )}
    </>
  );
}

export function StorageRoom() {
  const { people: t } = words();
  const { value, problem } = useLoaded(admin.storage, [], EVERY_MS);
  if (value === null) return <Problem text={problem} />;
  const { sweeper } = value;
  const facts: [string, string][] = [
    [t.storage.free, value.free_bytes === null ? t.storage.endless : bytes(value.free_bytes)],
    [t.storage.reserve, bytes(value.reserve_bytes)],
    [t.storage.used, bytes(value.used_bytes)],
    [t.storage.kept, value.kept_seconds === null ? t.storage.forever : t.storage.hours(value.kept_seconds / 3600)],
  ];
  return (
    <>
      <Problem text={problem} />
      <dl class="figures">
        {facts.map(([name, text]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{text}</dd>
          </div>
        ))}
      </dl>
      <h3>{t.storage.accounts}</h3>
      <ul class="rows">
        {value.accounts.map((one) => (
          <li key={one.account_id}>
            <span class="name">{one.account_name}</span>
            <span class="facts">
              {one.max_stored_bytes === null
                ? `${bytes(one.stored_bytes)} · ${t.noLimit}`
                : t.of(bytes(one.stored_bytes), bytes(one.max_stored_bytes))}
            </span>
            {one.max_stored_bytes !== null && (
              <progress
                aria-label={one.account_name}
                max={Math.max(1, one.max_stored_bytes)}
                value={Math.min(one.stored_bytes, one.max_stored_bytes)}
              />
            )}
          </li>
        ))}
      </ul>
      <h3>{t.storage.sweeper}</h3>
      <p class="hint">
        {sweeper.waiting_videos === 0
          ? t.storage.swept
          : t.storage.waiting(sweeper.waiting_videos, bytes(sweeper.waiting_bytes))}
      </p>
      {sweeper.oldest_seconds > STUCK_S && <p class="notice">{t.storage.stuck}</p>}
    </>
  );
}

export function AuditRoom() {
  const { people: t } = words();
  const [what, setWhat] = useState("");
  const [who, setWho] = useState("");
  const accounts = useLoaded(admin.accounts);
  const first = useLoaded(() => admin.audit(what, who, null), [what, who], EVERY_MS);
  const older = useOlder((after: string | number) => admin.audit(what, who, after), first.value, what + who);
  const kinds = Object.entries(t.audit.kinds);
  return (
    <>
      <p class="hint">{t.audit.lead}</p>
      <Problem text={first.problem} />
      <div class="bar">
        <Select
          label={t.audit.what}
          value={what}
          options={[["", t.audit.everything] as const, ...kinds]}
          onChange={setWhat}
        />
        <Select
          label={t.audit.who}
          value={who}
          options={[
            ["", t.audit.everybody] as const,
            ...(accounts.value?.data ?? []).map((one) => [one.id, one.name] as const),
          ]}
          onChange={setWho}
        />
      </div>
      {first.value !== null && older.shown.length === 0 && <p class="hint">{t.audit.empty}</p>}
      <ol class="rows log">
        {older.shown.map((entry) => (
          <AuditRow key={entry.id} entry={entry} />
        ))}
      </ol>
      {older.button}
    </>
  );
}

function AuditRow({ entry }: { entry: AuditEntry }) {
  const { people: t } = words();
  const by = entry.via === "cli" ? t.audit.cli : entry.key_prefix === null ? "" : t.audit.api(entry.key_prefix);
  const changed = Object.entries(entry.details).map(
    ([name, value]) => `${name} ${value === null ? "–" : Array.isArray(value) ? value.join(", ") : String(value)}`,
  );
  return (
    <li data-action={entry.action}>
      <span class="name">
        {entry.actor_name} {t.audit.actions[entry.action] ?? entry.action}{" "}
        <b>{entry.target_name ?? entry.target_id?.slice(0, 14)}</b>
      </span>
      <span class="facts">
        <time dateTime={new Date(entry.at * 1000).toISOString()} title={moment(entry.at)}>
          {ago(entry.at)}
        </time>
        {[by, ...changed].filter(Boolean).map((fact) => ` · ${fact}`)}
      </span>
    </li>
  );
}

/** Pages after the first, which is read again and again: what it has pushed out stays shown. */
function useOlder<Item extends { id: string | number }>(
  load: (after: string | number) => Promise<Pages<Item>>,
  first: Pages<Item> | null,
  of: string,
) {
  const [kept, setKept] = useState<{ of: string; data: Item[]; more: boolean } | null>(null);
  const own = kept?.of === of ? kept : null;
  const ids = new Set(first?.data.map((item) => item.id));
  const shown = [...(first?.data ?? []), ...(own?.data.filter((item) => !ids.has(item.id)) ?? [])];
  const more = async () => {
    const last = shown.at(-1);
    if (last === undefined) return;
    try {
      const page = await load(last.id);
      setKept({ of, data: [...shown, ...page.data], more: page.has_more });
    } catch (error) {
      say(reason(error));
    }
  };
  const hasMore = own?.more ?? first?.has_more ?? false;
  const button = hasMore && (
    <button type="button" class="quiet" onClick={() => void more()}>
      {words().people.audit.more}
    </button>
  );
  return { shown, button };
}
