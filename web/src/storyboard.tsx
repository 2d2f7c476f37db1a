// A video of several moments: cards on a timeline, and above it what one sees at the playhead.

import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "./api";
import * as board from "./board";
import { CardEditor } from "./cardeditor";
import { ChoicesForm, choices, fieldsOf, modelOf } from "./choices";
import { Problem, aspectOf, reason } from "./parts";
import { Stage } from "./stage";
import { made, watched } from "./state";
import { words } from "./strings";
import { Timeline } from "./timeline";

export function StoryboardPage() {
  const t = words().storyboard;
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const most = modelOf(choices.value.model)?.max_seconds ?? 60;
  const total = board.total.value;

  const submit = async () => {
    if (busy) return;
    const blank = board.incomplete();
    if (blank !== undefined) {
      board.selected.value = blank.id;
      setProblem(t.incomplete);
      return;
    }
    if (total > most) return setProblem(t.tooLong(most));
    setBusy(true);
    setProblem(null);
    try {
      const fields = { ...fieldsOf(choices.value), seconds: String(total), cards: board.asked() };
      const video = await watched(api.make("", fields));
      board.wasMade(video.id);
      await made(video);
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
      style={{ "--aspect": String(aspectOf(String(fieldsOf(choices.value)["size"]))) }}
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
      <Stage />
      <Timeline />
      <div class="under">
        <button type="button" class="quiet" disabled={!board.canAdd.value} onClick={board.add}>
          {t.add}
        </button>
        <span class={`count ${total > most ? "too-much" : ""}`} role="status">
          {t.total(String(total), most)}
        </span>
      </div>
      <CardEditor />
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
