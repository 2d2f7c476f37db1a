// What is asked before something goes that cannot be taken back, and secrets that are shown once.

import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { Problem, reason } from "./parts";
import { words } from "./strings";

interface Question {
  title: string;
  text: string;
  action: string;
  run: () => Promise<unknown>;
}

const question = signal<Question | null>(null);

export function ask(asked: Question): void {
  question.value = asked;
}

/** A page that asks has this once. */
export function Asking() {
  const box = useRef<HTMLDialogElement>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const asked = question.value;
  useEffect(() => {
    setProblem(null);
    if (asked !== null) box.current?.showModal();
  }, [asked]);
  useEffect(() => () => void (question.value = null), []);
  if (asked === null) return null;
  const close = () => {
    box.current?.close(); // gives the focus back
    question.value = null;
  };
  return (
    <dialog ref={box} aria-labelledby="asked" onClose={() => (question.value = null)}>
      <h2 id="asked">{asked.title}</h2>
      <p>{asked.text}</p>
      <Problem text={problem} />
      <div class="beside">
        <button type="button" class="quiet" onClick={close}>
          {words().people.cancel}
        </button>
        <button
          type="button"
          class="primary"
          onClick={() => void asked.run().then(close, (error: unknown) => setProblem(reason(error)))}
        >
          {asked.action}
        </button>
      </div>
    </dialog>
  );
}

/** A secret with a button that copies it; the one chance to see it. */
export function Once({ text, label, secret, done }: { text: string; label: string; secret: string; done: () => void }) {
  const t = words().people.keys;
  const box = useRef<HTMLInputElement>(null);
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    box.current?.focus();
    box.current?.select();
  }, [secret]);
  const copy = async () => {
    box.current?.select();
    try {
      await navigator.clipboard.writeText(secret);
      setCopied(true);
    } catch {
      // Over plain HTTP from another machine there is no clipboard; it is selected, for the keyboard.
    }
  };
  return (
    <div class="once" role="group" aria-label={label}>
      <p>{text}</p>
      <div class="beside">
        <input ref={box} readOnly spellcheck={false} aria-label={label} value={secret} data-wants-focus />
        <button type="button" class="primary" onClick={() => void copy()}>
          {copied ? t.copied : t.copy}
        </button>
        <button type="button" class="quiet" onClick={done}>
          {t.done}
        </button>
      </div>
    </div>
  );
}
