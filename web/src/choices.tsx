// What every way to make a video can be told beside its prompt.

import { signal } from "@preact/signals";
import type { Fields, Model, Preset, Recipe, Video } from "./api";
import { Field, Segments, Select, aspectOf, sizeName } from "./parts";
import { models } from "./state";
import { words } from "./strings";

export type Shape = "wide" | "square" | "tall";

export interface Choices {
  model: string; // empty is the server's own
  shape: Shape;
  size: string; // empty is the model's own
  seconds: string;
  n: string;
  seed: string;
  negative: string;
  guidance: string;
  steps: string;
  preset: string; // empty is none
}

export const blank: Choices = {
  model: "",
  shape: "wide",
  size: "",
  seconds: "",
  n: "1",
  seed: "",
  negative: "",
  guidance: "",
  steps: "",
  preset: "",
};

/** The same for the prompt and for the storyboard, and still there after a reload. */
export const choices = signal<Choices>(kept());

export function choose(changed: Partial<Choices>): void {
  choices.value = { ...choices.value, ...changed };
  sessionStorage.setItem("choices", JSON.stringify(choices.value));
}

function kept(): Choices {
  try {
    return { ...blank, ...JSON.parse(sessionStorage.getItem("choices") ?? "{}") };
  } catch {
    return blank;
  }
}

const LENGTHS = [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 45, 60];
const LARGER: Record<Shape, string[]> = {
  wide: ["640x360", "1280x720", "1920x1080"],
  square: ["512x512", "1024x1024"],
  tall: ["360x640", "720x1280", "1080x1920"],
};

export function modelOf(name: string): Model | undefined {
  return (
    models.value.find((model) => model.id === name) ??
    models.value.find((model) => model.is_default) ??
    models.value[0]
  );
}

export function shapeOf(size: string): Shape {
  const aspect = aspectOf(size);
  return aspect > 1.05 ? "wide" : aspect < 0.95 ? "tall" : "square";
}

function sizesOf(model: Model | undefined, shape: Shape): string[] {
  const own = model?.sizes.filter((size) => shapeOf(size) === shape) ?? [];
  return [...own, ...LARGER[shape].filter((size) => !own.includes(size))];
}

function sizeOf(chosen: Choices, model: Model | undefined): string {
  const sizes = sizesOf(model, chosen.shape);
  return sizes.includes(chosen.size) || (chosen.size && shapeOf(chosen.size) === chosen.shape)
    ? chosen.size
    : (sizes[0] ?? "");
}

/** Those that can be used as the model lies on the server. */
const presetsOf = (model: Model | undefined): Preset[] => model?.presets.filter((one) => one.missing === null) ?? [];

const presetOf = (chosen: Choices, model: Model | undefined) =>
  presetsOf(model).find((one) => one.name === chosen.preset);

/** As the API takes them. `size` and `seconds` are left out where the tool decides. */
export function fieldsOf(chosen: Choices, only: "all" | "options" = "all"): Fields {
  const model = modelOf(chosen.model);
  const fields: Fields = {};
  if (model !== undefined) fields["model"] = model.id;
  if (only === "all") {
    fields["size"] = sizeOf(chosen, model);
    fields["seconds"] = chosen.seconds || String(model?.default_seconds ?? 4);
  }
  if (chosen.n !== "1") fields["n"] = Number(chosen.n);
  if (chosen.seed.trim()) fields["seed"] = Number(chosen.seed);
  if (chosen.negative.trim()) fields["negative_prompt"] = chosen.negative;
  const preset = presetOf(chosen, model);
  if (preset !== undefined) fields["preset"] = preset.name;
  if (preset?.fixed) return fields; // what each step does is its own
  if (chosen.guidance.trim()) fields["guidance_scale"] = Number(chosen.guidance);
  if (chosen.steps.trim()) fields["steps"] = Number(chosen.steps);
  return fields;
}

/** The choices by which a video was made. */
export function choicesOf(video: Video): Choices {
  const recipe: Recipe = video.hibari.recipe;
  return {
    model: video.hibari.model,
    shape: shapeOf(video.size),
    size: video.size,
    seconds: video.seconds,
    n: "1",
    seed: video.hibari.seed === null ? "" : String(video.hibari.seed),
    negative: recipe.negative_prompt ?? "",
    guidance: recipe.guidance_scale === null ? "" : String(recipe.guidance_scale),
    steps: video.hibari.steps === null ? "" : String(video.hibari.steps),
    preset: recipe.preset ?? "",
  };
}

interface ChoicesProps {
  /** Whether size and length are to be chosen. */
  shaped?: boolean;
  length?: boolean;
}

export function ChoicesForm({ shaped = true, length = true }: ChoicesProps) {
  const t = words().choices;
  const chosen = choices.value;
  const model = modelOf(chosen.model);
  const native = new Set(model?.sizes);
  const most = model?.max_seconds ?? 60;
  const seconds = chosen.seconds || String(model?.default_seconds ?? 4);
  const lengths = LENGTHS.filter((count) => count <= most).map(String);
  if (!lengths.includes(seconds)) lengths.push(seconds);
  const sizes = sizesOf(model, chosen.shape);
  const size = sizeOf(chosen, model);
  if (!sizes.includes(size)) sizes.push(size);
  const presets = presetsOf(model);
  const preset = presetOf(chosen, model);
  return (
    <div class="choices">
      <div class="row">
        {models.value.length > 1 && (
          <Select
            label={t.model}
            value={model?.id ?? ""}
            options={models.value.map((one) => [one.id, one.id] as const)}
            onChange={(value) => choose({ model: value, size: "", seconds: "", preset: "" })}
          />
        )}
        {shaped && (
          <Segments
            label={t.shape}
            value={chosen.shape}
            options={(["wide", "square", "tall"] as const).map((shape) => [shape, t.shapes[shape]] as const)}
            onChange={(shape) => choose({ shape, size: "" })}
          />
        )}
        {shaped && (
          <Select
            label={t.size}
            value={size}
            wider
            options={sizes.map((one) => [one, native.has(one) ? t.native(sizeName(one)) : sizeName(one)] as const)}
            onChange={(value) => choose({ size: value })}
          />
        )}
        {length && (
          <Select
            label={t.length}
            value={seconds}
            options={lengths.sort((a, b) => Number(a) - Number(b)).map((one) => [one, t.seconds(one)] as const)}
            onChange={(value) => choose({ seconds: value })}
          />
        )}
        <Select
          label={t.variations}
          value={chosen.n}
          options={["1", "2", "3", "4", "6", "8"].map((count) => [count, count] as const)}
          onChange={(n) => choose({ n })}
        />
      </div>
      <details>
        <summary>{t.more}</summary>
        <div class="row">
          <Field label={t.negative} wider>
            {(id) => (
              <input
                id={id}
                type="text"
                maxLength={2000}
                value={chosen.negative}
                onInput={(event) => choose({ negative: event.currentTarget.value })}
              />
            )}
          </Field>
          <NumberField
            label={t.seed}
            value={chosen.seed}
            placeholder={t.random}
            min={0}
            max={Number.MAX_SAFE_INTEGER}
            onInput={(seed) => choose({ seed })}
          />
          {presets.length > 0 && (
            <Select
              label={t.preset}
              hint={preset?.summary}
              value={preset?.name ?? ""}
              options={[["", t.noPreset] as const, ...presets.map((one) => [one.name, one.name] as const)]}
              onChange={(name) => choose({ preset: name })}
            />
          )}
          {!preset?.fixed && (
            <>
              <NumberField
                label={t.steps}
                value={chosen.steps}
                placeholder={String(preset?.steps ?? model?.default_steps ?? "")}
                min={1}
                max={200}
                onInput={(steps) => choose({ steps })}
              />
              <NumberField
                label={t.guidance}
                hint={t.guidanceHint}
                value={chosen.guidance}
                placeholder={String(preset?.guidance_scale ?? model?.default_guidance_scale ?? "")}
                min={1}
                max={30}
                step={0.5}
                onInput={(guidance) => choose({ guidance })}
              />
            </>
          )}
        </div>
      </details>
    </div>
  );
}

interface NumberProps {
  label: string;
  hint?: string;
  value: string;
  placeholder: string;
  min: number;
  max: number;
  step?: number;
  onInput: (value: string) => void;
}

function NumberField({ label, hint, value, placeholder, min, max, step = 1, onInput }: NumberProps) {
  return (
    <Field label={label} hint={hint}>
      {(id, hintId) => (
        <input
          id={id}
          aria-describedby={hintId}
          type="number"
          inputMode="decimal"
          min={min}
          max={max}
          step={step}
          value={value}
          placeholder={placeholder}
          onInput={(event) => onInput(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}
