// The form that makes something with a secret: a key, a webhook, an account with its first key.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Once } from "./confirm";
import { Field, Problem, reason } from "./parts";

interface Made {
  name: string;
  secret: string;
}

interface SecretFormProps {
  /** What the secret is called, and what is said above it. */
  label: string;
  told: (name: string) => string;
  action: string;
  /** Whether all that is needed was given. */
  ready: boolean;
  create: () => Promise<Made>;
  /** Called after each try: a part of it may have been done. */
  tried: () => Promise<unknown>;
  children: ComponentChildren;
}

export function SecretForm({ label, told, action, ready, create, tried, children }: SecretFormProps) {
  const [shown, setShown] = useState<Made | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const submit = async () => {
    setProblem(null);
    try {
      setShown(await create());
    } catch (error) {
      setProblem(reason(error));
    }
    await tried();
  };
  return (
    <>
      {shown !== null && (
        <Once text={told(shown.name)} label={label} secret={shown.secret} done={() => setShown(null)} />
      )}
      <form
        class="new"
        onSubmit={(event) => {
          event.preventDefault();
          if (ready) void submit();
        }}
      >
        {children}
        <Problem text={problem} />
        <button type="submit" class="quiet" disabled={!ready}>
          {action}
        </button>
      </form>
    </>
  );
}

interface NameFieldProps {
  label: string;
  value: string;
  wider?: boolean;
  set: (name: string) => void;
}

/** What people call it. */
export function NameField({ label, value, wider, set }: NameFieldProps) {
  return (
    <Field label={label} wider={wider}>
      {(id) => (
        <input
          id={id}
          maxLength={100}
          autocomplete="off"
          value={value}
          onInput={(event) => set(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}
