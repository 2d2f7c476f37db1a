// Every word that the page says, a file a language. One that is not complete does not compile.

import { signal } from "@preact/signals";
import { de } from "./de";
import { en, type Strings } from "./en";
import { ja } from "./ja";

export const languages = { en, de, ja };
export type Language = keyof typeof languages;

function preferred(): Language {
  const kept = localStorage.getItem("language");
  const wanted = [...(kept === null ? [] : [kept]), ...navigator.languages].map((tag) => tag.slice(0, 2));
  return (wanted.find((tag) => tag in languages) as Language | undefined) ?? "en";
}

export const language = signal<Language>(preferred());

/** The words of the chosen language; read it while rendering, and the page follows a change. */
export const words = (): Strings => languages[language.value];

/** "12 s", "3 min": rounded as an estimate deserves. */
export function duration(seconds: number): string {
  const { time } = words();
  if (seconds < 90) return time.seconds(Math.max(1, seconds < 20 ? Math.ceil(seconds) : Math.round(seconds / 5) * 5));
  return time.minutes(Math.round(seconds / 60));
}
