// The cards of a storyboard side by side, each as wide as it is long, with their transitions between them.

import { useEffect, useRef } from "preact/hooks";
import { contentUrl } from "./api";
import * as board from "./board";
import { grown } from "./grown";
import { Tile } from "./parts";
import { words } from "./strings";

export function Timeline() {
  const t = words();
  const row = useRef<HTMLOListElement>(null);
  const placed = board.placed.value;
  const total = board.total.value;
  const at = board.playhead.value;
  const chosen = board.selected.value;
  const place = board.placeOf(chosen);

  useEffect(() => {
    // Sideways only: the page stays where it is.
    const card = row.current?.querySelector(`[data-card="${chosen}"]`)?.getBoundingClientRect();
    const reel = row.current?.closest(".reel");
    const seen = reel?.getBoundingClientRect();
    if (card === undefined || !reel || seen === undefined) return;
    if (card.left < seen.left) reel.scrollLeft += card.left - seen.left;
    else if (card.right > seen.right) reel.scrollLeft += Math.min(card.right - seen.right, card.left - seen.left);
  }, [chosen, place, placed.length]);

  const focusCard = (id: number) =>
    requestAnimationFrame(() => row.current?.querySelector<HTMLElement>(`[data-card="${id}"]`)?.focus());
  const keys = (event: KeyboardEvent, { card, gap }: board.Placed) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { id } = card;
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (step || /^([[\]sd]|Delete|Backspace)$/i.test(event.key)) board.selected.value = id;
    if (step && event.shiftKey) board.stretch(id, card.seconds + step * board.STEP_S);
    else if (step) board.move(id, board.placeOf(id) + step);
    else if (event.key === "[") board.widen(id, gap - board.STEP_S);
    else if (event.key === "]") board.widen(id, gap + board.STEP_S);
    else if (event.key === "s" || event.key === "S") board.split(id);
    else if (event.key === "d" || event.key === "D") board.duplicate(id);
    else if (event.key === "Delete" || event.key === "Backspace") board.drop(id);
    else return;
    event.preventDefault();
    focusCard(board.selected.value);
  };
  /** Follow the pointer until it is lifted. */
  const follow = (event: PointerEvent, moved: (dxSeconds: number) => void) => {
    const width = row.current?.clientWidth ?? 0;
    if (event.button !== 0 || width === 0) return;
    const target = event.currentTarget as HTMLElement;
    const from = event.clientX;
    const scale = total / width; // as it was: the row changes under the pointer
    target.setPointerCapture(event.pointerId);
    const changed = (to: PointerEvent) => moved((to.clientX - from) * scale);
    const stop = () => {
      target.removeEventListener("pointermove", changed);
      board.endGesture();
    };
    target.addEventListener("pointermove", changed);
    target.addEventListener("lostpointercapture", stop, { once: true });
  };
  const select = ({ card, begin }: board.Placed) => {
    board.selected.value = card.id;
    board.playhead.value = begin;
  };
  return (
    <div class="reel">
      <div class="length" style={{ minWidth: `${Math.max(total * 3.2, placed.length * 5.5)}rem` }}>
        <ol class="timeline" ref={row} aria-label={t.storyboard.timeline}>
          {placed.map((one, index) => {
            const { card, gap, begin, end } = one;
            return (
              <li
                key={card.id}
                style={{ flexGrow: gap + card.seconds }}
                class={card.id === board.selected.value ? "chosen" : ""}
              >
                {gap > 0 && (
                  <span class="gap" style={{ flexGrow: gap }} title={t.board.gap(String(gap))}>
                    <span class="unseen">{t.board.gap(String(gap))}</span>
                  </span>
                )}
                <span class="slot" style={{ flexGrow: card.seconds }}>
                  <button
                    type="button"
                    data-card={card.id}
                    aria-pressed={card.id === board.selected.value}
                    onClick={() => select(one)}
                    onPointerDown={(event) => {
                      board.selected.value = card.id;
                      follow(event, (dx) => Math.abs(dx) > 0.1 && board.drag(card.id, begin + dx, placed));
                    }}
                    onKeyDown={(event) => keys(event, one)}
                  >
                    <span class="unseen">{`${t.storyboard.card(index + 1, String(begin), String(end))}: `}</span>
                    <Face card={card} index={index} />
                    <span class="at" aria-hidden="true">
                      {begin} s
                    </span>
                    <span class={card.prompt ? "says" : "says blank"}>{card.prompt || t.storyboard.blank}</span>
                  </button>
                  <span
                    class="edge"
                    onPointerDown={(event) =>
                      follow(event, (dx) => board.stretch(card.id, card.seconds + dx, `stretch ${card.id}`))
                    }
                  />
                </span>
              </li>
            );
          })}
        </ol>
        <span class="needle" style={{ "--at": String(total ? at / total : 0) }} aria-hidden="true" />
        <input
          class="playhead"
          type="range"
          aria-label={t.board.playhead}
          aria-valuetext={t.choices.seconds(at.toFixed(1))}
          min={0}
          max={total}
          step={0.05}
          value={at}
          onInput={(event) => {
            board.playhead.value = Number(event.currentTarget.value);
          }}
        />
      </div>
    </div>
  );
}

/** What a card looks like: what was put on it, or what has grown of it. */
function Face({ card, index }: { card: board.BoardCard; index: number }) {
  const tile = grown.value.get(index);
  if (tile !== undefined) return <Tile class="face" {...tile} />;
  if (card.picture !== null) return <img class="face" src={card.picture} alt="" draggable={false} />;
  if (card.video !== null) {
    return <img class="face" src={contentUrl(card.video.id, "thumbnail")} alt="" draggable={false} />;
  }
  return null;
}
