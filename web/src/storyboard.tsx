// A video of several moments: cards on a timeline.

import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "./api";
import * as board from "./board";
import { ChoicesForm, choices, fieldsOf, modelOf } from "./choices";
import { Field, Problem, reason } from "./parts";
import { go, videoPath } from "./route";
import { made, watched } from "./state";
import { words } from "./strings";

export function StoryboardPage() {
  const t = words().storyboard;
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const most = modelOf(choices.value.model)?.max_seconds ?? 60;
  const total = board.total.value;

  const submit = async () => {
    if (busy) return;
    const blank = board.cards.value.find((card) => !card.prompt.trim());
    if (blank !== undefined) {
      board.selected.value = blank.id;
      setProblem(t.incomplete);
      return;
    }
    if (total > most) return setProblem(t.tooLong(most));
    setBusy(true);
    setProblem(null);
    try {
      const cards = board.cards.value.map((card) => ({ at_s: board.beginOf(card.id), prompt: card.prompt }));
      const fields = { ...fieldsOf(choices.value), seconds: String(total), cards, transition_s: board.transition.value };
      const video = await watched(api.make("", fields));
      await made(video);
      go(videoPath(video.id));
    } catch (error) {
      setProblem(reason(error));
    } finally {
      setBusy(false);
    }
  };
  const send = useRef(submit);
  send.current = submit;
  useEffect(() => {
    // Of the whole page: after a drag nothing has the focus.
    const keys = (event: KeyboardEvent) => {
      const ctrl = event.ctrlKey || event.metaKey;
      if (ctrl && event.key === "Enter") void send.current();
      else if (ctrl && event.key.toLowerCase() === "z") (event.shiftKey ? board.redo : board.undo)();
      else if (ctrl && event.key.toLowerCase() === "y") board.redo();
      else return;
      event.preventDefault();
    };
    document.addEventListener("keydown", keys);
    return () => document.removeEventListener("keydown", keys);
  }, []);
  return (
    <form
      class="storyboard"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <div class="heading">
        <h1>{t.title}</h1>
        <span class="pair">
          <button type="button" class="quiet" disabled={!board.canUndo.value} onClick={board.undo}>
            {t.undo}
          </button>
          <button type="button" class="quiet" disabled={!board.canRedo.value} onClick={board.redo}>
            {t.redo}
          </button>
        </span>
      </div>
      <p class="hint">{t.lead}</p>
      <Timeline />
      <Under most={most} />
      <Editor />
      <Problem text={problem} />
      <ChoicesForm length={false} />
      <div class="actions">
        <button type="submit" class="primary" aria-disabled={busy} aria-keyshortcuts="Control+Enter">
          {busy ? words().make.working : t.submit}
        </button>
      </div>
      <p class="hint">{t.keys}</p>
    </form>
  );
}

/** What holds for all cards together. */
function Under({ most }: { most: number }) {
  const t = words().storyboard;
  const total = board.total.value;
  const transition = board.transition.value;
  return (
    <div class="under">
      <button type="button" class="quiet" disabled={!board.canAdd.value} onClick={board.add}>
        {t.add}
      </button>
      <span class={`count ${total > most ? "too-much" : ""}`} role="status">
        {t.total(String(total), most)}
      </span>
      <Field label={`${t.transition}: ${transition === 0 ? t.cut : words().choices.seconds(transition)}`}>
        {(id) => (
          <input
            id={id}
            type="range"
            min={0}
            max={4}
            step={0.25}
            value={transition}
            onInput={(event) => board.setTransition(Number(event.currentTarget.value))}
          />
        )}
      </Field>
    </div>
  );
}

function Timeline() {
  const t = words().storyboard;
  const row = useRef<HTMLOListElement>(null);
  const cards = board.cards.value;
  const total = board.total.value;

  const focusCard = (id: number) =>
    requestAnimationFrame(() => row.current?.querySelector<HTMLElement>(`[data-card="${id}"]`)?.focus());
  const keys = (event: KeyboardEvent, id: number, seconds: number) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (step && event.shiftKey) board.stretch(id, seconds + step * board.STEP_S);
    else if (step) board.move(id, board.placeOf(id) + step);
    else if (event.key === "s" || event.key === "S") board.split(id);
    else if (event.key === "d" || event.key === "D") board.duplicate(id);
    else if (event.key === "Delete" || event.key === "Backspace") board.drop(id);
    else return;
    event.preventDefault();
    focusCard(board.selected.value);
  };
  /** Follow the pointer until it is lifted. */
  const drag = (event: PointerEvent, moved: (dx: number, dxSeconds: number) => void) => {
    const width = row.current?.clientWidth ?? 0;
    if (event.button !== 0 || width === 0) return;
    const target = event.currentTarget as HTMLElement;
    const from = event.clientX;
    const scale = total / width; // as it was: the row changes under the pointer
    target.setPointerCapture(event.pointerId);
    const follow = (at: PointerEvent) => moved(at.clientX - from, (at.clientX - from) * scale);
    const stop = () => {
      target.removeEventListener("pointermove", follow);
      board.endGesture();
    };
    target.addEventListener("pointermove", follow);
    target.addEventListener("lostpointercapture", stop, { once: true });
  };
  const dragCard = (event: PointerEvent, id: number) => {
    board.selected.value = id;
    const began = board.beginOf(id);
    const own = cards.find((card) => card.id === id)?.seconds ?? 0;
    drag(event, (_, dx) => {
      // Its middle decides between which of the others it lies.
      const middle = began + own / 2 + dx;
      let end = 0;
      let place = 0;
      for (const card of board.cards.value) {
        if (card.id === id) continue;
        if (middle > end + card.seconds / 2) place++;
        end += card.seconds;
      }
      board.move(id, place, `move ${id}`);
    });
  };
  return (
    <ol class="timeline" ref={row} aria-label={t.timeline}>
      {cards.map((card, index) => {
        const begin = board.beginOf(card.id);
        const name = t.card(index + 1, String(begin), String(begin + card.seconds));
        return (
          <li key={card.id} style={{ flexGrow: card.seconds }} class={card.id === board.selected.value ? "chosen" : ""}>
            <button
              type="button"
              data-card={card.id}
              aria-pressed={card.id === board.selected.value}
              onClick={() => {
                board.selected.value = card.id;
              }}
              onPointerDown={(event) => dragCard(event, card.id)}
              onKeyDown={(event) => keys(event, card.id, card.seconds)}
            >
              <span class="unseen">{`${name}: `}</span>
              <span class="at" aria-hidden="true">
                {begin} s
              </span>
              <span class={card.prompt ? "says" : "says blank"}>{card.prompt || t.blank}</span>
            </button>
            <span
              class="edge"
              onPointerDown={(event) => {
                const { seconds } = card;
                drag(event, (_, dx) => board.stretch(card.id, seconds + dx, `stretch ${card.id}`));
              }}
            />
          </li>
        );
      })}
    </ol>
  );
}

/** The chosen card in full, with all that can be done to it without dragging. */
function Editor() {
  const t = words().storyboard;
  const card = board.cards.value.find((one) => one.id === board.selected.value);
  if (card === undefined) return null;
  const place = board.placeOf(card.id);
  const many = board.cards.value.length;
  return (
    <div class="editor">
      <Field label={t.prompt(place + 1)}>
        {(id) => (
          <textarea
            id={id}
            rows={2}
            maxLength={2000}
            value={card.prompt}
            placeholder={t.blank}
            onInput={(event) => board.describe(card.id, event.currentTarget.value)}
            onBlur={board.endGesture}
          />
        )}
      </Field>
      <div class="row">
        <Field label={t.seconds}>
          {(id) => (
            <input
              id={id}
              type="number"
              min={board.STEP_S}
              max={60}
              step={board.STEP_S}
              value={card.seconds}
              onChange={(event) => board.stretch(card.id, Number(event.currentTarget.value) || card.seconds)}
            />
          )}
        </Field>
        <span class="pair">
          <button type="button" class="quiet" disabled={place === 0} onClick={() => board.move(card.id, place - 1)}>
            {t.earlier}
          </button>
          <button
            type="button"
            class="quiet"
            disabled={place === many - 1}
            onClick={() => board.move(card.id, place + 1)}
          >
            {t.later}
          </button>
          <button type="button" class="quiet" onClick={() => board.split(card.id)}>
            {t.split}
          </button>
          <button type="button" class="quiet" onClick={() => board.duplicate(card.id)}>
            {t.duplicate}
          </button>
          <button type="button" class="quiet" disabled={many === 1} onClick={() => board.drop(card.id)}>
            {t.remove}
          </button>
        </span>
      </div>
    </div>
  );
}
