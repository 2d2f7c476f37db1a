// Small things that pages share: icons, links, fields, messages.

import { signal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useId } from "preact/hooks";
import { ApiError } from "./api";
import { go } from "./route";
import { words } from "./strings";

const PATHS = {
  make: "M12 5v14M5 12h14",
  gallery: "M4 4h7v9H4zM13 4h7v5h-7zM13 11h7v9h-7zM4 15h7v5H4z",
  storyboard: "M3 7h5v10H3zM9.500 7h5v10h-5zM16 7h5v10h-5z",
  attach: "M4 17V5h16v14H6a2 2 0 0 1-2-2l5-6 4 5 3-3 4 4M16 9h.01",
  close: "M6 6l12 12M18 6L6 18",
  play: "M8 5l11 7-11 7z",
  pause: "M8 5v14M16 5v14",
  back: "M15 5l-8 7 8 7zM5 5v14",
  forward: "M9 5l8 7-8 7zM19 5v14",
  repeat: "M17 3l3 3-3 3M20 6H8a4 4 0 0 0-4 4v1M7 21l-3-3 3-3M4 18h12a4 4 0 0 0 4-4v-1",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10 11v5M14 11v5",
  again: "M4 12a8 8 0 1 0 2.500-5.800M4 4v4.500h4.500",
  frame: "M4 5h16v14H4zM8 5v14M16 5v14",
  settings: "M4 7h9M17 7h3M15 5v4M4 17h3M11 17h9M9 15v4",
  filter: "M4 6h16M7 12h10M10 18h4",
  star: "M12 4l2.500 5.200 5.500.700-4 4 1 5.600-5-2.700-5 2.700 1-5.600-4-4 5.500-.700z",
  folder: "M3 6h7l2 2h9v11H3z",
  pencil: "M4 20l1-5L16 4l4 4L9 19zM14 6l4 4",
  warning: "M12 4l9 16H3zM12 10v5M12 17.500v.010",
};

export function Icon({ name }: { name: keyof typeof PATHS }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

type LinkProps = Omit<JSX.HTMLAttributes<HTMLAnchorElement>, "href"> & { to: string };

/** A link within the studio; the browser still opens it in a new tab where that is asked for. */
export function Link({ to, children, ...rest }: LinkProps) {
  const follow = (event: MouseEvent) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(to);
  };
  return (
    <a href={to} onClick={follow} {...rest}>
      {children}
    </a>
  );
}

interface FieldProps {
  label: string;
  hint?: string | undefined;
  wider?: boolean | undefined;
  children: (id: string, hintId: string | undefined) => ComponentChildren;
}

/** A label with what it labels. */
export function Field({ label, hint, wider, children }: FieldProps) {
  const id = useId();
  const hintId = hint === undefined ? undefined : `${id}-hint`;
  return (
    <div class={wider ? "field wider" : "field"}>
      <label for={id}>{label}</label>
      {children(id, hintId)}
      {hint !== undefined && (
        <span class="hint" id={hintId}>
          {hint}
        </span>
      )}
    </div>
  );
}

interface SelectProps<Value extends string> {
  label: string;
  hint?: string | undefined;
  value: Value;
  options: readonly (readonly [Value, string])[];
  wider?: boolean;
  onChange: (value: Value) => void;
}

export function Select<Value extends string>({ label, hint, value, options, wider, onChange }: SelectProps<Value>) {
  return (
    <Field label={label} hint={hint} wider={wider}>
      {(id, hintId) => (
        <select
          id={id}
          aria-describedby={hintId}
          value={value}
          onChange={(event) => {
            const chosen = event.currentTarget.value as Value;
            event.currentTarget.value = value; // until it is granted
            onChange(chosen);
          }}
        >
          {options.map(([option, text]) => (
            <option key={option} value={option}>
              {text}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

interface SegmentsProps<Value extends string> extends SelectProps<Value> {
  hideLabel?: boolean;
}

/** A few choices side by side: radio buttons that look like one. */
export function Segments<Value extends string>({ label, value, options, onChange, hideLabel }: SegmentsProps<Value>) {
  const name = useId();
  return (
    <fieldset class="field segments">
      <legend class={hideLabel ? "unseen" : undefined}>{label}</legend>
      <div class="track">
        {options.map(([option, text]) => (
          <label key={option} class={option === value ? "chosen" : undefined}>
            <input
              class="unseen"
              type="radio"
              name={name}
              value={option}
              checked={option === value}
              onChange={() => onChange(option)}
            />
            {text}
          </label>
        ))}
      </div>
    </fieldset>
  );
}

export interface TileOf {
  source: string;
  column: number;
  columns: number;
  row: number;
  rows: number;
}

/** One picture of a sheet that has several. */
export function Tile({ source, column, columns, row, rows, class: name }: TileOf & { class: string }) {
  const share = (index: number, count: number) => `${count > 1 ? (index / (count - 1)) * 100 : 0}%`;
  return (
    <span
      class={`tile ${name}`}
      style={{
        backgroundImage: `url("${source}")`,
        backgroundSize: `${columns * 100}% ${rows * 100}%`,
        backgroundPosition: `${share(column, columns)} ${share(row, rows)}`,
      }}
    />
  );
}

/** Said once, and read out at once. */
export function Problem({ text }: { text: string | null }) {
  return (
    <div role="alert">
      {text !== null && (
        <p class="problem">
          <Icon name="warning" />
          <span>{text}</span>
        </p>
      )}
    </div>
  );
}

/** What to tell of something that was thrown. */
export function reason(error: unknown): string {
  if (error instanceof ApiError) return error.message;
  return words().state.offline;
}

interface Toast {
  id: number;
  text: string;
  action?: { text: string; run: () => void };
}

const toasts = signal<readonly Toast[]>([]);
let toastNumber = 0;
const TOAST_MS = 6000;

export function say(text: string, action?: Toast["action"]): void {
  const id = ++toastNumber;
  const drop = () => {
    toasts.value = toasts.value.filter((toast) => toast.id !== id);
  };
  const own = action && { text: action.text, run: () => (drop(), action.run()) };
  toasts.value = [...toasts.value.slice(-2), own ? { id, text, action: own } : { id, text }];
  setTimeout(drop, TOAST_MS);
}

export function Toasts() {
  return (
    <div class="toasts" role="status">
      {toasts.value.map((toast) => (
        <div class="toast" key={toast.id}>
          <span>{toast.text}</span>
          {toast.action && (
            <button type="button" onClick={toast.action.run}>
              {toast.action.text}
            </button>
          )}
        </div>
      ))}
    </div>
  );
}

/** "160x96" for people. */
export const sizeName = (size: string) => size.replace("x", " × ");

/** Width over height, of "160x96". */
export function aspectOf(size: string): number {
  const [width, height] = size.split("x").map(Number);
  return width && height ? width / height : 1;
}
