// The chosen card in full, with all that can be done to it without dragging.

import { useState } from "preact/hooks";
import { contentUrl } from "./api";
import * as board from "./board";
import { Field, Icon, Problem } from "./parts";
import { shrunk } from "./picture";
import { finished } from "./state";
import { words } from "./strings";

export function CardEditor() {
  const t = words().storyboard;
  const [problem, setProblem] = useState<string | null>(null);
  const [over, setOver] = useState(false);
  const one = board.placed.value.find(({ card }) => card.id === board.selected.value);
  if (one === undefined) return null;
  const { card, gap } = one;
  const place = board.placeOf(card.id);
  const many = board.cards.value.length;
  const take = async (file: File | undefined) => {
    if (file === undefined) return;
    try {
      board.setPicture(card.id, await shrunk(file));
      setProblem(null);
    } catch {
      setProblem(words().board.notPicture(file.name));
    }
  };
  return (
    <div
      class={`editor ${over ? "over" : ""}`}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        void take(event.dataTransfer?.files[0]);
      }}
    >
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
            onPaste={(event) => void take(event.clipboardData?.files[0])}
          />
        )}
      </Field>
      <Shown key={card.id} card={card} take={take} />
      <Problem text={problem} />
      <div class="row">
        <Seconds label={t.seconds} least={board.STEP_S} value={card.seconds} set={(value) => board.stretch(card.id, value)} />
        {place > 0 && (
          <Seconds label={words().board.before} least={0} value={gap} set={(value) => board.widen(card.id, value)} />
        )}
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
          <button type="button" class="quiet" disabled={card.video !== null} onClick={() => board.split(card.id)}>
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

interface SecondsProps {
  label: string;
  least: number;
  value: number;
  set: (seconds: number) => void;
}

function Seconds({ label, least, value, set }: SecondsProps) {
  return (
    <Field label={label}>
      {(id) => (
        <input
          id={id}
          type="number"
          min={least}
          max={60}
          step={board.STEP_S}
          value={value}
          onChange={(event) => {
            const wanted = Number(event.currentTarget.value);
            if (event.currentTarget.value !== "" && wanted >= least) set(wanted);
          }}
        />
      )}
    </Field>
  );
}

/** The picture or the clip of a card, and the way to one. */
function Shown({ card, take }: { card: board.BoardCard; take: (file: File | undefined) => Promise<void> }) {
  const t = words().board;
  const [choosing, setChoosing] = useState(false);
  const clips = finished.value;
  if (card.picture !== null || card.video !== null) {
    return (
      <div class="attached">
        <img src={card.picture ?? contentUrl(card.video?.id ?? "", "thumbnail")} alt="" />
        <span>{card.picture !== null ? t.pictureHere : t.clipHere}</span>
        <button
          type="button"
          class="quiet round"
          aria-label={words().make.detach}
          onClick={() => (card.picture !== null ? board.setPicture(card.id, null) : board.setVideo(card.id, null))}
        >
          <Icon name="close" />
        </button>
      </div>
    );
  }
  return (
    <>
      <div class="beside">
        <label class="button quiet">
          <Icon name="frame" />
          {t.addPicture}
          <input
            class="unseen"
            type="file"
            accept="image/png,image/jpeg,image/gif,image/webp"
            onChange={(event) => {
              void take(event.currentTarget.files?.[0]);
              event.currentTarget.value = "";
            }}
          />
        </label>
        <button type="button" class="quiet" aria-expanded={choosing} onClick={() => setChoosing(!choosing)}>
          <Icon name="gallery" />
          {t.addClip}
        </button>
      </div>
      {choosing && (
        <div class="others" role="group" aria-label={t.addClip}>
          {clips.length === 0 && <p class="hint">{t.noClip}</p>}
          {clips.map((video) => (
            <button
              type="button"
              class="bare"
              key={video.id}
              onClick={() =>
                board.setVideo(card.id, { id: video.id, seconds: Number(video.seconds), prompt: video.prompt })
              }
            >
              <img src={contentUrl(video.id, "thumbnail")} alt={video.prompt} title={video.prompt} loading="lazy" />
            </button>
          ))}
        </div>
      )}
    </>
  );
}
