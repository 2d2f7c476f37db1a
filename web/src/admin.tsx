// The administrator's pages, and the accounts among them. A reviewer has the queue and the models.

import "./people.css";
import { useState } from "preact/hooks";
import { Asking, ask } from "./confirm";
import { KeyList, NewKey } from "./keys";
import { AuditRoom, ModelRoom, QueueRoom, StorageRoom } from "./operations";
import { Field, Link, Problem, Select, reason } from "./parts";
import { admin, bytes, may, moment, useLoaded, type Account, type Limits, type Role } from "./people";
import { NameField, SecretForm } from "./secret";
import { session } from "./state";
import { words } from "./strings";

const ROOMS = {
  accounts: AccountRoom,
  queue: QueueRoom,
  models: ModelRoom,
  storage: StorageRoom,
  audit: AuditRoom,
};
type Room = keyof typeof ROOMS;
const ROLES: readonly Role[] = ["member", "reviewer", "admin"];

const open = (): Room[] =>
  may("admin") ? (Object.keys(ROOMS) as Room[]) : may("review") ? ["queue", "models"] : [];

export const mayAdminister = () => open().length > 0;

/** The room at an address; null where there is none for the one who looks. */
export function roomOf(address: string): Room | null {
  const [, first, name, ...rest] = address.split("/");
  if (first !== "admin" || rest.length > 0) return null;
  return open().find((room) => name === undefined || room === name) ?? null;
}

export function AdminPage({ room }: { room: Room }) {
  const t = words().people;
  const Shown = ROOMS[room];
  return (
    <div class="people">
      <div class="heading">
        <h1>{t.admin}</h1>
      </div>
      <nav class="rooms" aria-label={t.admin}>
        {open().map((one) => (
          <Link key={one} to={`/admin/${one}`} aria-current={one === room ? "page" : undefined}>
            {t.rooms[one]}
          </Link>
        ))}
      </nav>
      <section aria-labelledby="room">
        <h2 id="room" class="unseen">
          {t.rooms[room]}
        </h2>
        <Shown />
      </section>
      <Asking />
    </div>
  );
}

function AccountRoom() {
  const { value, problem, reload } = useLoaded(admin.accounts, [], 10_000);
  return (
    <>
      <Problem text={problem} />
      <ul class="rows">
        {value?.data.map((account) => (
          <AccountRow key={account.id} account={account} reload={reload} />
        ))}
      </ul>
      <NewAccount made={reload} />
    </>
  );
}

function AccountRow({ account, reload }: { account: Account; reload: () => Promise<unknown> }) {
  const { people: t } = words();
  const [opened, setOpened] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const paused = account.paused_at !== null;
  const { usage, limits } = account;
  const stored =
    limits.max_stored_bytes === null
      ? bytes(usage.stored_bytes)
      : t.of(bytes(usage.stored_bytes), bytes(limits.max_stored_bytes));
  const turn = () =>
    admin.pause(account.id, !paused).then(
      () => (setProblem(null), reload()),
      (error: unknown) => setProblem(reason(error)),
    );
  return (
    <li data-account={account.name}>
      <span class="name">
        {account.name}
        <span class="tag">{account.role === null ? t.accounts.noKey : t.accounts.roles[account.role]}</span>
        {paused && <span class="tag loud">{t.accounts.paused}</span>}
      </span>
      <span class="facts">
        {[t.accounts.load(usage.running, usage.queued), stored, t.accounts.since(moment(account.created_at))].join(" · ")}
      </span>
      <button
        type="button"
        class="quiet"
        aria-label={paused ? t.accounts.resumeNamed(account.name) : t.accounts.pauseNamed(account.name)}
        onClick={() => void turn()}
      >
        {paused ? t.accounts.resume : t.accounts.pause}
      </button>
      <Problem text={problem} />
      <details class="older" onToggle={(event) => setOpened(event.currentTarget.open)}>
        <summary>
          {t.accounts.limits}, {t.keys.title}
        </summary>
        {opened && <AccountDetails account={account} reload={reload} />}
      </details>
    </li>
  );
}

function AccountDetails({ account, reload }: { account: Account; reload: () => Promise<unknown> }) {
  const { people: t } = words();
  const keys = useLoaded(() => admin.keys(account.id), [account.id]);
  const [role, setRole] = useState<Role>(account.role ?? "member");
  const self = session.value?.account.id === account.id;
  const all = () => Promise.all([reload(), keys.reload()]);
  const setAllRoles = (wanted: Role) =>
    ask({
      title: t.accounts.changeRole(account.name, t.accounts.roles[wanted]),
      text: t.accounts.changeRoleText,
      action: t.accounts.changeIt,
      run: () => admin.change(account.id, { role: wanted }).then(() => (setRole(wanted), all())),
    });
  return (
    <div class="details">
      <LimitForm account={account} saved={reload} />
      {!self && account.role !== null && (
        <Select
          label={t.accounts.role}
          value={role}
          options={ROLES.map((one) => [one, t.accounts.roles[one]] as const)}
          onChange={setAllRoles}
        />
      )}
      <Problem text={keys.problem} />
      <h3>{t.keys.title}</h3>
      {keys.value !== null && (
        <KeyList
          keys={keys.value.data}
          revoke={async (key) => {
            await admin.revokeKey(account.id, key.id);
            await all();
          }}
        />
      )}
      <NewKey
        scopes={scopesOf(role)}
        create={(wish) => admin.createKey(account.id, { ...wish, role })}
        made={all}
      />
      {!self && (
        <button
          type="button"
          class="quiet danger"
          onClick={() =>
            ask({
              title: t.accounts.sure(account.name),
              text: t.accounts.sureText,
              action: t.accounts.remove,
              run: () => admin.remove(account.id).then(reload),
            })
          }
        >
          {t.accounts.remove}
        </button>
      )}
    </div>
  );
}

/** What a role's key can be given. */
const scopesOf = (role: Role) =>
  ["videos:read", "videos:write", ...(role === "member" ? [] : ["review"]), ...(role === "admin" ? ["admin"] : [])];

const MB = 1e6;

function LimitForm({ account, saved }: { account: Account; saved: () => Promise<unknown> }) {
  const { people: t } = words();
  const own = account.own_limits;
  const text = (count: number | null) => (count === null ? "" : String(count));
  const [running, setRunning] = useState(text(own.max_running));
  const [queued, setQueued] = useState(text(own.max_queued));
  const [stored, setStored] = useState(text(own.max_stored_bytes === null ? null : own.max_stored_bytes / MB));
  const [said, setSaid] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const fields = [
    [t.accounts.running, running, setRunning],
    [t.accounts.queued, queued, setQueued],
    [t.accounts.stored, stored, setStored],
  ] as const;
  const number = (value: string, unit = 1) => (value.trim() === "" ? null : Math.round(Number(value) * unit));
  const submit = async () => {
    setProblem(null);
    const limits: Limits = {
      max_running: number(running),
      max_queued: number(queued),
      max_stored_bytes: number(stored, MB),
    };
    try {
      await admin.change(account.id, { ...limits });
      setSaid(true);
      await saved();
    } catch (error) {
      setProblem(reason(error));
    }
  };
  return (
    <form
      class="new"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <h3>{t.accounts.limits}</h3>
      <div class="row">
        {fields.map(([label, value, set]) => (
          <Field key={label} label={label}>
            {(id) => (
              <input
                id={id}
                type="number"
                min="0"
                step="any"
                value={value}
                placeholder="–"
                onInput={(event) => {
                  set(event.currentTarget.value);
                  setSaid(false);
                }}
              />
            )}
          </Field>
        ))}
      </div>
      <Problem text={problem} />
      <div class="beside">
        <button type="submit" class="quiet">
          {t.accounts.save}
        </button>
        <span class="hint" role="status">
          {said ? t.accounts.saved : t.accounts.own}
        </span>
      </div>
    </form>
  );
}

function NewAccount({ made }: { made: () => Promise<unknown> }) {
  const { people: t } = words();
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("member");
  const create = async () => {
    const account = await admin.create({ name });
    setName("");
    const key = await admin.createKey(account.id, { name: account.name, role });
    return { name: account.name, secret: key.secret };
  };
  return (
    <SecretForm
      label={t.keys.secret}
      told={t.keys.shown}
      action={t.accounts.withKey}
      ready={name.trim() !== ""}
      create={create}
      tried={made}
    >
      <h3>{t.accounts.add}</h3>
      <div class="row">
        <NameField label={t.accounts.name} wider value={name} set={setName} />
        <Select
          label={t.accounts.role}
          value={role}
          options={ROLES.map((one) => [one, t.accounts.roles[one]] as const)}
          onChange={setRole}
        />
      </div>
    </SecretForm>
  );
}
