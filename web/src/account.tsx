// One's own account: what it has and may, its keys, its webhooks.

import "./people.css";
import { api } from "./api";
import { Asking } from "./confirm";
import { KeyList, NewKey } from "./keys";
import { Problem, reason, say } from "./parts";
import { bytes, may, people, useLoaded, type Account } from "./people";
import { go } from "./route";
import { session, signedOut } from "./state";
import { language, words } from "./strings";
import { HookSection } from "./webhooks";

export async function signOut(): Promise<void> {
  try {
    await api.signOut();
    signedOut();
    go("/");
  } catch (error) {
    say(reason(error));
  }
}

export function AccountPage() {
  const t = words().people;
  const { value: account, problem, reload } = useLoaded(people.account, [], 10_000);
  return (
    <div class="people">
      <div class="heading">
        <h1>{session.value?.account.name ?? t.account}</h1>
        {session.value?.key != null && (
          <button type="button" class="quiet" onClick={() => void signOut()}>
            {words().settings.signOut}
          </button>
        )}
      </div>
      <Problem text={problem} />
      {account !== null && <UsageSection account={account} />}
      <KeySection changed={reload} />
      <HookSection />
      <Asking />
    </div>
  );
}

function UsageSection({ account }: { account: Account }) {
  const t = words().people;
  const { usage, limits } = account;
  const number = (count: number) => count.toLocaleString(language.value);
  const seconds = words().choices.seconds(usage.made_seconds.toLocaleString(language.value, { maximumFractionDigits: 1 }));
  const of = (used: string, most: string | null) => (most === null ? used : t.of(used, most));
  const limited = (used: number, most: number | null) => of(number(used), most === null ? null : number(most));
  const facts: [string, string][] = [
    [t.usage.made, seconds],
    [t.usage.stored, of(bytes(usage.stored_bytes), limits.max_stored_bytes === null ? null : bytes(limits.max_stored_bytes))],
    [t.usage.running, limited(usage.running, limits.max_running)],
    [t.usage.queued, limited(usage.queued, limits.max_queued)],
    [t.usage.finished, number(usage.completed)],
  ];
  return (
    <section aria-labelledby="usage">
      <h2 id="usage">{t.usage.title}</h2>
      {account.paused_at !== null && <p class="notice">{t.usage.paused}</p>}
      <dl class="figures">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {limits.max_stored_bytes !== null && (
        <progress
          aria-label={t.usage.stored}
          max={Math.max(1, limits.max_stored_bytes)}
          value={Math.min(usage.stored_bytes, limits.max_stored_bytes)}
        />
      )}
    </section>
  );
}

function KeySection({ changed }: { changed: () => Promise<unknown> }) {
  const t = words().people.keys;
  const { value, problem, reload } = useLoaded(people.keys);
  const who = session.value;
  return (
    <section aria-labelledby="keys">
      <h2 id="keys">{t.title}</h2>
      <p class="hint">{t.lead}</p>
      <Problem text={problem} />
      {value !== null && (
        <KeyList
          keys={value.data}
          revoke={async (key) => {
            await people.revokeKey(key.id);
            await reload();
          }}
        />
      )}
      {may("videos:write") && (
        <NewKey
          scopes={who === null || who.key === null ? null : who.scopes}
          create={people.createKey}
          made={() => Promise.all([reload(), changed()])}
        />
      )}
    </section>
  );
}
