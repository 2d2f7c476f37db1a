// What the model will make of a prompt, told while it is written: never in the way of typing.

import { useEffect, useState } from "preact/hooks";
import { api, type PromptHelp } from "./api";
import { words } from "./strings";

const AFTER_MS = 500;
const NOT_READY_MS = 2000;

interface HelpProps {
  prompt: string;
  model: string;
  write: (prompt: string) => void;
}

export function Help({ prompt, model, write }: HelpProps) {
  const t = words().help;
  const [told, setTold] = useState<{ of: string; help: PromptHelp } | null>(null);
  const text = prompt.trim();
  useEffect(() => {
    if (text === "") return;
    let stale = false;
    let timer: ReturnType<typeof setTimeout>;
    const ask = async () => {
      try {
        const help = await api.promptHelp({ prompt: text, ...(model && { model }) });
        if (stale) return;
        if (help.available && !help.ready) timer = setTimeout(() => void ask(), NOT_READY_MS);
        else setTold({ of: text, help });
      } catch {
        // It is only help.
      }
    };
    timer = setTimeout(() => void ask(), AFTER_MS);
    return () => {
      stale = true;
      clearTimeout(timer);
    };
  }, [text, model]);
  if (told === null || text === "" || !told.help.available) return null;
  const { help } = told;
  const read = help.words.filter((word) => word.status !== "ignored");
  const better = help.suggestion !== told.of ? help.suggestion : "";
  return (
    <details class="help" open={localStorage.getItem("help") !== "closed"} onToggle={(event) => {
      localStorage.setItem("help", event.currentTarget.open ? "open" : "closed");
    }}>
      <summary>{t.title}</summary>
      <ul class="words" aria-label={t.title}>
        {read.map((word, index) => (
          <li key={`${index} ${word.text}`} class={word.status}>
            {word.text}
            <span class="reading">{reading(word)}</span>
          </li>
        ))}
      </ul>
      {help.missing.length > 0 && (
        <p class="hint">{t.missing(help.missing.map((one) => t.kinds[one.kind] ?? one.kind).join(", "))}</p>
      )}
      {better && (
        <button type="button" class="quiet suggestion" onClick={() => write(better)}>
          {t.suggestion(better)}
        </button>
      )}
    </details>
  );
}

function reading(word: PromptHelp["words"][number]): string {
  const t = words().help;
  switch (word.status) {
    case "known":
      return t.known;
    case "close":
      return t.close(word.also === null ? (word.nearest ?? "") : `${word.nearest} / ${word.also}`);
    case "unread":
      return t.unread;
    default:
      return word.nearest === null ? t.far : t.farNear(word.nearest);
  }
}
