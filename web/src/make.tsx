// The first page: say what happens, see it grow.

import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, api, type Fields, type Forecast } from "./api";
import { VideoCard } from "./card";
import { ChoicesForm, choices, fieldsOf } from "./choices";
import { attach, attached, detach, prompt, write, type Strength, type Use } from "./draft";
import { Help } from "./help";
import { Icon, Link, Problem, Segments, Select, reason } from "./parts";
import { isUnfinished, made, videos, watched } from "./state";
import { duration, words } from "./strings";

const RECENT = 12;
const FORECAST_AFTER_MS = 300;

export function MakePage() {
  const t = words().make;
  const growing = videos.value.filter(isUnfinished);
  const news = isNew();
  const recent = videos.value.filter((video, index) => isUnfinished(video) || index < RECENT);
  return (
    <div class="make">
      <h1 class={news ? "hero" : "unseen"}>{t.title}</h1>
      <Composer />
      {videos.value.length === 0 ? (
        <p class="empty">{t.empty}</p>
      ) : (
        <section aria-labelledby="recent">
          <div class="heading">
            <h2 id="recent">{news ? t.samples : t.recent}</h2>
            {videos.value.length > growing.length && <Link to="/gallery">{t.allInGallery}</Link>}
          </div>
          {news && <p class="hint">{t.samplesLead}</p>}
          <ul class="grid large">
            {recent.map((video) => (
              <VideoCard key={video.id} video={video} />
            ))}
          </ul>
        </section>
      )}
    </div>
  );
}

/** Nobody has made anything yet: all that there may be are samples. */
const isNew = () => videos.value.every((video) => video.hibari.sample);

const strength = signal<Strength>("mild");

function Composer() {
  const t = words().make;
  const box = useRef<HTMLTextAreaElement>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const [over, setOver] = useState(false);
  useEffect(() => box.current?.focus({ preventScroll: true }), []);

  const take = (file: File | undefined) => {
    if (file === undefined) return;
    setProblem(attach(file, file.name) ? null : t.notMedia(file.name));
  };
  const submit = async () => {
    if (busy) return;
    const given = attached.value;
    if (!prompt.value.trim()) {
      setProblem(t.noPrompt);
      box.current?.focus();
      return;
    }
    setBusy(true);
    setProblem(null);
    try {
      await made(await watched(send(given?.use ?? null, given?.file)));
      detach();
    } catch (error) {
      setProblem(reason(error));
    } finally {
      setBusy(false);
      box.current?.focus();
    }
  };
  return (
    <form
      class={`composer ${over ? "over" : ""}`}
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        take(event.dataTransfer?.files[0]);
      }}
    >
      <label for="prompt" class="unseen">
        {t.prompt}
      </label>
      <textarea
        id="prompt"
        ref={box}
        data-wants-focus
        rows={2}
        maxLength={2000}
        value={prompt.value}
        placeholder={t.placeholder}
        onInput={(event) => write(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
            event.preventDefault();
            void submit();
          }
        }}
        onPaste={(event) => take(event.clipboardData?.files[0])}
      />
      {over && <p class="drop">{t.drop}</p>}
      <Help prompt={prompt.value} model={choices.value.model} write={(text) => (write(text), box.current?.focus())} />
      <AttachedFile />
      <Problem text={problem} />
      <div class="actions">
        <label class="button quiet attach">
          <Icon name="attach" />
          <span>{t.attach}</span>
          <input
            class="unseen"
            type="file"
            accept="image/png,image/jpeg,image/gif,image/webp,video/mp4,video/webm"
            onChange={(event) => {
              take(event.currentTarget.files?.[0]);
              event.currentTarget.value = "";
            }}
          />
        </label>
        <Cost />
        <button type="submit" class="primary" aria-disabled={busy} title={t.shortcut} aria-keyshortcuts="Control+Enter">
          {busy ? t.working : t.submit}
        </button>
      </div>
      <ChoicesForm
        shaped={!isClipTool(attached.value?.use)}
        length={attached.value === null || attached.value.use !== "edit"}
      />
      {isNew() && !prompt.value && (
        <p class="examples">
          <span>{t.examplesLabel}</span>
          {t.examples.map((text) => (
            <button type="button" class="quiet" key={text} onClick={() => (write(text), box.current?.focus())}>
              {text}
            </button>
          ))}
        </p>
      )}
    </form>
  );
}

const isClipTool = (use: Use | undefined) => use !== undefined && use !== "first";

function send(use: Use | null, file: Blob | undefined) {
  const chosen = choices.value;
  const text = { prompt: prompt.value };
  if (use === null || file === undefined) return api.make("", { ...text, ...fieldsOf(chosen) });
  switch (use) {
    case "first":
      return api.make("", { ...text, ...fieldsOf(chosen) }, { input_reference: file });
    case "edit":
      return api.make(
        "/edits",
        { ...text, ...fieldsOf(chosen, "options"), strength: strength.value },
        { video: file },
      );
    case "extend":
    case "extend_back": {
      const fields: Fields = { ...text, ...fieldsOf(chosen, "options"), seconds: fieldsOf(chosen)["seconds"] };
      return api.make("/extensions", { ...fields, backward: use === "extend_back" }, { video: file });
    }
  }
}

function AttachedFile() {
  const t = words();
  const given = attached.value;
  if (given === null) return null;
  const uses: Use[] = given.kind === "picture" ? ["first"] : ["edit", "extend", "extend_back"];
  return (
    <div class="attached">
      {given.kind === "picture" ? <img src={given.url} alt="" /> : <video src={given.url} muted loop autoplay playsInline />}
      {uses.length > 1 ? (
        <Select
          label={t.make.use}
          value={given.use}
          options={uses.map((use) => [use, t.make.uses[use]] as const)}
          onChange={(use) => {
            attached.value = { ...given, use };
          }}
        />
      ) : (
        <span>{t.make.uses.first}</span>
      )}
      {given.use === "edit" && (
        <Segments
          label={t.choices.strength}
          value={strength.value}
          options={(["subtle", "mild", "strong"] as const).map((one) => [one, t.choices.strengths[one]] as const)}
          onChange={(one) => {
            strength.value = one;
          }}
        />
      )}
      <button type="button" class="quiet round" aria-label={t.make.detach} onClick={detach}>
        <Icon name="close" />
      </button>
    </div>
  );
}

/** How long it would take, or why it cannot be made, before anybody presses. The prompt plays no part in that. */
function Cost() {
  const t = words().make;
  const [told, setTold] = useState<Forecast | string | null>(null);
  const fields = JSON.stringify({ prompt: "-", ...fieldsOf(choices.value) });
  const waiting = videos.value.filter(isUnfinished).length;
  const asks = !isClipTool(attached.value?.use);
  useEffect(() => {
    setTold(null);
    if (!asks) return;
    const timer = setTimeout(() => {
      api.forecast(JSON.parse(fields)).then(setTold, (error: unknown) => {
        setTold(error instanceof ApiError ? error.message : null);
      });
    }, FORECAST_AFTER_MS);
    return () => clearTimeout(timer);
  }, [fields, waiting, asks]);
  let text = "";
  if (typeof told === "string") text = told;
  else if (told !== null) {
    const several = choices.value.n !== "1";
    if (told.seconds === null) text = t.unknownCost;
    else text = (told.measured ? t.cost : t.guess)(duration(told.seconds), several);
    if (told.queue_position > 0) text += ` · ${t.ahead(told.queue_position)}`;
  }
  return (
    <span class="cost" role="status">
      {text}
    </span>
  );
}
