// The door, where the server asks for a key.

import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "./api";
import { Field, Problem, reason } from "./parts";
import { go, path } from "./route";
import { start } from "./state";
import { words } from "./strings";

export function SignInPage() {
  const t = words().signIn;
  const box = useRef<HTMLInputElement>(null);
  const [key, setKey] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => box.current?.focus(), []);
  const submit = async () => {
    setProblem(null);
    try {
      await api.signIn(key);
      setKey("");
      if (path.value === "/sign-in") go("/");
      await start();
    } catch (error) {
      setProblem(reason(error));
      box.current?.select();
    }
  };
  return (
    <form
      class="sign-in"
      onSubmit={(event) => {
        event.preventDefault();
        if (key.trim()) void submit();
      }}
    >
      <h1>{t.title}</h1>
      <p>{t.lead}</p>
      <p>
        <code>hibari admin key create NAME</code>
      </p>
      <Field label={t.key} hint={t.safe}>
        {(id, hintId) => (
          <input
            id={id}
            ref={box}
            data-wants-focus
            aria-describedby={hintId}
            type="password"
            autocomplete="current-password"
            spellcheck={false}
            value={key}
            onInput={(event) => setKey(event.currentTarget.value)}
          />
        )}
      </Field>
      <Problem text={problem} />
      <button type="submit" class="primary" disabled={!key.trim()}>
        {t.submit}
      </button>
    </form>
  );
}
