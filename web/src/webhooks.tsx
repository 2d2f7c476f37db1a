// One's own webhooks, with what was told to each and what it answered.

import { useState } from "preact/hooks";
import { ask } from "./confirm";
import { Field, Problem, reason, say } from "./parts";
import { may, moment, people, useLoaded, type Delivery, type Hook } from "./people";
import { NameField, SecretForm } from "./secret";
import { words } from "./strings";

const EVENTS = ["video.completed", "video.failed"];

export function HookSection() {
  const t = words().people.hooks;
  const { value, problem, reload } = useLoaded(people.hooks);
  return (
    <section aria-labelledby="hooks">
      <h2 id="hooks">{t.title}</h2>
      <p class="hint">{t.lead}</p>
      <Problem text={problem} />
      {value !== null && (
        <ul class="rows">
          {value.data.map((hook) => (
            <HookRow key={hook.id} hook={hook} reload={reload} />
          ))}
        </ul>
      )}
      {value?.data.length === 0 && <p class="hint">{t.empty}</p>}
      {may("videos:write") && <NewHook made={reload} />}
    </section>
  );
}

function HookRow({ hook, reload }: { hook: Hook; reload: () => Promise<unknown> }) {
  const t = words().people.hooks;
  const [open, setOpen] = useState(false);
  const events = hook.event_types.map((one) => t.event[one] ?? one).join(", ");
  const turn = () =>
    people.changeHook(hook.id, { enabled: !hook.enabled }).then(reload, (error: unknown) => say(reason(error)));
  return (
    <li data-hook={hook.id}>
      <span class="name">
        {hook.name}
        {!hook.enabled && <span class="tag">{t.off}</span>}
      </span>
      <span class="facts">
        {hook.url} · {t.events} {events}
      </span>
      {may("videos:write") && (
        <span class="beside">
          <button type="button" class="quiet" onClick={() => void turn()}>
            {hook.enabled ? t.disable : t.enable}
          </button>
          <button
            type="button"
            class="quiet"
            aria-label={t.removeNamed(hook.name)}
            onClick={() =>
              ask({
                title: t.sure(hook.name),
                text: t.sureText,
                action: t.remove,
                run: () => people.removeHook(hook.id).then(reload),
              })
            }
          >
            {t.remove}
          </button>
        </span>
      )}
      <details class="older" onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary>{t.log}</summary>
        {open && <Log hook={hook.id} />}
      </details>
    </li>
  );
}

function Log({ hook }: { hook: string }) {
  const t = words().people.hooks;
  const [older, setOlder] = useState<{ data: Delivery[]; has_more: boolean } | null>(null);
  const { value, problem, reload } = useLoaded(() => people.deliveries(hook, null), [hook], 5_000);
  const shown = [...(value?.data ?? []), ...(older?.data ?? [])];
  const hasMore = (older ?? value)?.has_more ?? false;
  const more = async () => {
    const found = await people.deliveries(hook, shown.at(-1)?.id ?? null);
    setOlder({ data: [...(older?.data ?? []), ...found.data], has_more: found.has_more });
  };
  const replay = (event: string) =>
    people.replay(hook, event).then(
      () => (say(t.replayed), reload()),
      (error: unknown) => say(reason(error)),
    );
  return (
    <>
      <Problem text={problem} />
      {value !== null && shown.length === 0 && <p class="hint">{t.noLog}</p>}
      <ul class="rows">
        {shown.map((delivery) => (
          <li key={delivery.id}>
            <span class="name">
              {delivery.event.type}
              <span class="tag">{t.status[delivery.status] ?? delivery.status}</span>
            </span>
            <span class="facts">{[moment(delivery.created_at), ...outcome(delivery)].join(" · ")}</span>
            {may("videos:write") && (
              <button type="button" class="quiet" onClick={() => void replay(delivery.id)}>
                {t.replay}
              </button>
            )}
          </li>
        ))}
      </ul>
      {hasMore && (
        <button type="button" class="quiet" onClick={() => void more().catch((error: unknown) => say(reason(error)))}>
          {t.more}
        </button>
      )}
    </>
  );
}

function outcome(delivery: Delivery): string[] {
  const t = words().people.hooks;
  const last = delivery.attempts.at(-1);
  const said =
    last === undefined
      ? []
      : [last.status_code === null ? (last.error ?? "") : t.answered(last.status_code, last.duration_ms)];
  return delivery.next_attempt_at === null ? said : [...said, t.next(moment(delivery.next_attempt_at))];
}

function NewHook({ made }: { made: () => Promise<unknown> }) {
  const t = words().people.hooks;
  const [url, setUrl] = useState("");
  const [name, setName] = useState("");
  const create = async () => {
    const hook = await people.createHook({ url, ...(name.trim() ? { name } : {}), event_types: EVENTS });
    setUrl("");
    setName("");
    return { name: hook.name, secret: hook.signing_secret };
  };
  return (
    <SecretForm
      label={t.secret}
      told={t.shown}
      action={t.create}
      ready={url.trim() !== ""}
      create={create}
      tried={made}
    >
      <div class="row">
        <Field label={t.url} wider>
          {(id) => (
            <input
              id={id}
              type="url"
              inputMode="url"
              placeholder="https://"
              value={url}
              onInput={(event) => setUrl(event.currentTarget.value)}
            />
          )}
        </Field>
        <NameField label={t.name} value={name} set={setName} />
      </div>
    </SecretForm>
  );
}
