// A list of API keys, and the form that makes one: of one's own account, or of another that one looks after.

import { useState } from "preact/hooks";
import { api } from "./api";
import { ask } from "./confirm";
import { Select } from "./parts";
import { ago, moment, type Key } from "./people";
import { NameField, SecretForm } from "./secret";
import { session } from "./state";
import { words } from "./strings";

const LIVES = ["never", "7", "30", "90", "365"] as const;
type Life = (typeof LIVES)[number];
const DAY_S = 86400;

interface KeyListProps {
  keys: Key[];
  revoke: (key: Key) => Promise<unknown>;
}

export function KeyList({ keys, revoke }: KeyListProps) {
  const t = words().people.keys;
  const good = keys.filter((key) => key.status === "active" || key.status === "paused");
  const old = keys.filter((key) => !good.includes(key));
  return (
    <>
      <ul class="rows">
        {good.map((key) => (
          <KeyRow key={key.id} of={key} revoke={revoke} />
        ))}
      </ul>
      {old.length > 0 && (
        <details class="older">
          <summary>{t.old(old.length)}</summary>
          <ul class="rows">
            {old.map((key) => (
              <KeyRow key={key.id} of={key} />
            ))}
          </ul>
        </details>
      )}
    </>
  );
}

function KeyRow({ of: key, revoke }: { of: Key; revoke?: KeyListProps["revoke"] }) {
  const { people } = words();
  const t = people.keys;
  const own = session.value?.key === key.prefix;
  const facts = [
    key.scopes.map((scope) => t.scope[scope] ?? scope).join(", "),
    key.last_used_at === null ? t.unused : t.used(ago(key.last_used_at)),
    key.expires_at === null ? "" : people.until(moment(key.expires_at)),
  ];
  return (
    <li data-key={key.id}>
      <span class="name">
        {key.name} <code>{key.prefix}…</code>
        {own && <span class="tag">{t.this}</span>}
        {key.status !== "active" && <span class="tag">{t.status[key.status]}</span>}
      </span>
      <span class="facts">{facts.filter(Boolean).join(" · ")}</span>
      {revoke && (
        <button
          type="button"
          class="quiet"
          aria-label={t.revokeNamed(key.name)}
          onClick={() => ask({ title: t.sure(key.name), text: t.sureText, action: t.revoke, run: () => revoke(key) })}
        >
          {t.revoke}
        </button>
      )}
    </li>
  );
}

interface NewKeyProps {
  /** What can be given; null is all that there is, and cannot be chosen. */
  scopes: readonly string[] | null;
  create: (wish: Record<string, unknown>) => Promise<Key & { secret: string }>;
  made: () => Promise<unknown>;
}

export function NewKey({ scopes, create, made }: NewKeyProps) {
  const t = words().people.keys;
  const [name, setName] = useState("");
  const [life, setLife] = useState<Life>("never");
  const [without, setWithout] = useState<readonly string[]>([]);
  const first = scopes === null;
  const chosen = (scopes ?? []).filter((scope) => !without.includes(scope));
  const make = async () => {
    const expires = life === "never" ? {} : { expires_at: Math.floor(Date.now() / 1000) + Number(life) * DAY_S };
    const key = await create(first ? { name } : { name, scopes: chosen, ...expires });
    // From here on the server asks this browser for a key, too.
    if (first) session.value = await api.signIn(key.secret);
    setName("");
    return key;
  };
  return (
    <SecretForm
      label={t.secret}
      told={t.shown}
      action={t.create}
      ready={name.trim() !== "" && (first || chosen.length > 0)}
      create={make}
      tried={made}
    >
      {first && <p class="hint">{t.first}</p>}
      <div class="row">
        <NameField label={t.name} wider value={name} set={setName} />
        {!first && (
          <Select
            label={t.expires}
            value={life}
            options={LIVES.map((one) => [one, t.lives[one]] as const)}
            onChange={setLife}
          />
        )}
      </div>
      {scopes !== null && scopes.length > 1 && (
        <fieldset class="checks">
          <legend>{t.scopes}</legend>
          {scopes.map((scope) => (
            <label key={scope}>
              <input
                type="checkbox"
                checked={!without.includes(scope)}
                onChange={(event) =>
                  setWithout(
                    event.currentTarget.checked ? without.filter((one) => one !== scope) : [...without, scope],
                  )
                }
              />
              {t.scope[scope] ?? scope}
            </label>
          ))}
        </fieldset>
      )}
    </SecretForm>
  );
}
