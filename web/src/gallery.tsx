// All one's own videos: found by their words, kept in folders, changed many at a time.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { api, type Folder, type Video } from "./api";
import { VideoCard, removeWithUndo } from "./card";
import { Icon, Link, Select, reason, say } from "./parts";
import {
  KINDS,
  NOWHERE,
  change,
  filter,
  filters,
  folders,
  loadFolders,
  look,
  moreShown,
  noFilters,
  pick,
  query,
  select,
  selected,
  showMore,
  shown,
} from "./shelf";
import { isUnfinished, loadingMore, models, videoById, videos } from "./state";
import { words } from "./strings";

const LOOK_AFTER_MS = 250; // of the last letter

const complain = (error: unknown) => say(reason(error));

export function GalleryPage() {
  const t = words();
  const asked = query.value;
  const found = shown.value;
  const newest = videos.value[0]?.id;
  const growing = videos.value.filter(isUnfinished).length;
  const [open, setOpen] = useState(false); // on a phone, where they are folded
  const { search: _, ...others } = filters.value;
  const filtered = Object.values(others).filter(Boolean).length;
  useEffect(() => {
    loadFolders().catch(() => undefined);
    return () => select([]);
  }, []);
  useEffect(() => {
    const timer = setTimeout(() => look().catch(complain), LOOK_AFTER_MS);
    return () => clearTimeout(timer);
  }, [asked, newest, growing]);
  return (
    <div class="gallery">
      <div class="heading">
        <h1>{t.gallery.title}</h1>
        <span class="count" role="status">
          {found !== null && found.length > 0 ? t.gallery.count(found.length, moreShown.value) : ""}
        </span>
        <button
          type="button"
          class="quiet unfold"
          aria-expanded={open}
          aria-controls="filters"
          onClick={() => setOpen(!open)}
        >
          <Icon name="filter" />
          {t.gallery.filters}
          {filtered > 0 && ` (${filtered})`}
        </button>
        <input
          type="search"
          class="search"
          aria-label={t.gallery.search}
          placeholder={t.gallery.search}
          maxLength={200}
          value={filters.value.search}
          onInput={(event) => filter({ search: event.currentTarget.value })}
        />
      </div>
      <Filters open={open} />
      {found === null ? (
        <p class="empty" role="status">
          {t.state.loading}
        </p>
      ) : found.length > 0 ? (
        <Cards found={found} />
      ) : asked === "" ? (
        <p class="empty">
          {t.gallery.empty} <Link to="/">{t.state.home}</Link>
        </p>
      ) : (
        <p class="empty">
          {t.gallery.noMatch}{" "}
          <button type="button" class="quiet" onClick={() => filter(noFilters)}>
            {t.gallery.showAll}
          </button>
        </p>
      )}
      {found !== null && moreShown.value && <More many={found.length} />}
      <Bulk />
    </div>
  );
}

function Filters({ open }: { open: boolean }) {
  const t = words();
  const { gallery } = t;
  const chosen = filters.value;
  const kinds: Record<string, string> = { ...gallery.kinds, ...t.recipe.toolNames };
  const all = ["", gallery.all] as const;
  return (
    <div id="filters" class={open ? "filters" : "filters folded"} role="group" aria-label={gallery.filters}>
      <Folders />
      <Select
        label={gallery.status}
        value={chosen.status}
        options={[all, ...(["unfinished", "completed", "failed"] as const).map((one) => [one, gallery.states[one]] as const)]}
        onChange={(status) => filter({ status })}
      />
      <Select
        label={gallery.kind}
        value={chosen.kind}
        options={[all, ...KINDS.map((one) => [one, kinds[one] ?? one] as const)]}
        onChange={(kind) => filter({ kind })}
      />
      {models.value.length > 1 && (
        <Select
          label={t.choices.model}
          value={chosen.model}
          options={[all, ...models.value.map((one) => [one.id, one.id] as const)]}
          onChange={(model) => filter({ model })}
        />
      )}
      <button
        type="button"
        class="quiet favourite"
        aria-pressed={chosen.favourite}
        onClick={() => filter({ favourite: !chosen.favourite })}
      >
        <Icon name="star" />
        {gallery.favourites}
      </button>
    </div>
  );
}

/** Which folder is shown, and what can be done with it. */
function Folders() {
  const t = words().gallery;
  const [doing, setDoing] = useState<"new" | "rename" | "remove" | null>(null);
  const open = folders.value.find((one) => one.id === filters.value.folder);
  const end = () => setDoing(null);
  return (
    <div class="folders">
      <Select
        label={t.folder}
        value={filters.value.folder}
        options={[
          ["", t.everywhere],
          ...folders.value.map((one) => [one.id, `${one.name} (${one.videos})`] as const),
          [NOWHERE, t.nowhere],
        ]}
        onChange={(folder) => (end(), filter({ folder }))}
      />
      {doing === null || (doing !== "new" && !open) ? (
        <>
          <Tool name="folder" text={t.newFolder} run={() => setDoing("new")} />
          {open && <Tool name="pencil" text={t.renameFolder(open.name)} run={() => setDoing("rename")} />}
          {open && <Tool name="trash" text={t.removeFolder(open.name)} run={() => setDoing("remove")} />}
        </>
      ) : doing === "remove" && open ? (
        <Ask text={t.reallyRemove(open.name)} submit={t.removeIt} end={end} run={() => removeFolder(open)} />
      ) : (
        <Naming folder={doing === "rename" ? open : undefined} end={end} />
      )}
    </div>
  );
}

interface ToolProps {
  name: Parameters<typeof Icon>[0]["name"];
  text: string;
  run: () => void;
}

function Tool({ name, text, run }: ToolProps) {
  return (
    <button type="button" class="quiet round" aria-label={text} title={text} onClick={run}>
      <Icon name={name} />
    </button>
  );
}

async function removeFolder(folder: Folder): Promise<void> {
  await api.removeFolder(folder.id);
  filter({ folder: "" });
  await loadFolders();
  say(words().gallery.folderRemoved);
}

interface AskProps {
  text?: string;
  submit: string;
  end: () => void;
  run: () => Promise<void>;
  children?: ComponentChildren;
}

/** A question beside what it is about; Escape is no. */
function Ask({ text, submit, end, run, children }: AskProps) {
  const t = words().gallery;
  const box = useRef<HTMLFormElement>(null);
  useEffect(() => box.current?.querySelector<HTMLElement>("input, button")?.focus(), []);
  return (
    <form
      ref={box}
      class="ask"
      onKeyDown={(event) => event.key === "Escape" && end()}
      onSubmit={(event) => {
        event.preventDefault();
        run().then(end, complain);
      }}
    >
      {text && <span>{text}</span>}
      {children}
      <button type="submit" class="quiet">
        {submit}
      </button>
      <button type="button" class="quiet" onClick={end}>
        {t.cancel}
      </button>
    </form>
  );
}

/** A name for a folder: a new one, with what is selected in it, or one that is there. */
function Naming({ folder, end }: { folder: Folder | undefined; end: () => void }) {
  const t = words().gallery;
  const [name, setName] = useState(folder?.name ?? "");
  const run = async () => {
    if (folder) await api.renameFolder(folder.id, name);
    else {
      const made = await api.newFolder(name);
      const ids = [...selected.value];
      if (ids.length) await change(ids, { folder: made.id });
      else filter({ folder: made.id });
      select([]);
    }
    await loadFolders();
  };
  return (
    <Ask submit={folder ? t.rename : t.create} end={end} run={run}>
      <input
        type="text"
        required
        maxLength={100}
        aria-label={t.folderName}
        placeholder={t.folderName}
        value={name}
        onInput={(event) => setName(event.currentTarget.value)}
      />
    </Ask>
  );
}

/** The grid. What is pressed is one video's; which one, its place says. */
function Cards({ found }: { found: readonly Video[] }) {
  const t = words().gallery;
  const idOf = (event: Event) => (event.target as Element).closest("[data-id]")?.getAttribute("data-id") ?? null;
  const press = (event: MouseEvent) => {
    const id = idOf(event);
    const onPicture = (event.target as Element).closest(".picture") !== null;
    // While something is selected a picture is selected too, by mouse or finger; Enter opens it as ever.
    const selects = onPicture && event.detail > 0 && (selected.value.size > 0 || event.shiftKey);
    if (id === null || !selects || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    pick(id, event.shiftKey);
  };
  const keys = (event: KeyboardEvent) => {
    const id = idOf(event);
    if (event.key === "Escape" && selected.value.size > 0) select([]);
    else if (event.key === "a" && (event.ctrlKey || event.metaKey)) select(found.map((video) => video.id));
    else if (id === null || event.ctrlKey || event.metaKey || event.altKey) return;
    else if (event.key === "x" || event.key === "X") pick(id, event.shiftKey);
    else if (event.key === "f") favour(chosenOr(id));
    else if (event.key === "Delete") removeChosen(chosenOr(id));
    else return;
    event.preventDefault();
  };
  return (
    <>
      <ul class={`grid ${selected.value.size ? "selecting" : ""}`} onClickCapture={press} onKeyDown={keys}>
        {found.map((video) => (
          <VideoCard key={video.id} video={video}>
            <Marks video={video} />
          </VideoCard>
        ))}
      </ul>
      <p class="hint keys">{t.keys}</p>
    </>
  );
}

const chosenOr = (id: string) => (selected.value.has(id) ? [...selected.value] : [id]);

/** Favourites, unless all are already. */
function favour(ids: readonly string[]): void {
  const favourite = !ids.every((id) => videoById(id)?.hibari.favourite);
  change(ids, { favourite }).catch(complain);
}

function removeChosen(ids: readonly string[]): void {
  removeWithUndo(...ids.map((id) => ({ id })));
  select([]);
}

function Marks({ video }: { video: Video }) {
  const t = words().gallery;
  const { favourite } = video.hibari;
  const ticked = selected.value.has(video.id);
  return (
    <span class="marks">
      <label class="pick">
        <input
          type="checkbox"
          aria-label={t.select(video.prompt)}
          checked={ticked}
          onClick={(event) => {
            pick(video.id, event.shiftKey);
            event.currentTarget.checked = selected.value.has(video.id);
          }}
        />
      </label>
      <button
        type="button"
        class="favourite"
        aria-pressed={favourite}
        aria-label={t.favour(video.prompt)}
        onClick={() => favour([video.id])}
      >
        <Icon name="star" />
      </button>
    </span>
  );
}

/** What can be done with all that is selected. */
function Bulk() {
  const t = words().gallery;
  const [naming, setNaming] = useState(false);
  const ids = [...selected.value];
  const many = ids.length;
  const all = ids.every((id) => videoById(id)?.hibari.favourite);
  const move = async (folder: string) => {
    await change(ids, { folder: folder === NOWHERE ? "" : folder });
    select([]);
    say(t.moved(many));
  };
  return (
    <div role="group" aria-label={t.bulk} class={many ? "bulk" : "unseen"}>
      <span class="told" role="status">
        {many > 0 && t.selected(many)}
      </span>
      {many > 0 && (
        <>
          {naming ? (
            <Naming folder={undefined} end={() => setNaming(false)} />
          ) : (
            <>
              <button
                type="button"
                class="quiet favourite"
                aria-label={t.favourite}
                aria-pressed={all}
                onClick={() => favour(ids)}
              >
                <Icon name="star" />
                <span>{t.favourite}</span>
              </button>
              <select
                aria-label={t.move}
                value=""
                onChange={(event) => {
                  const { value } = event.currentTarget;
                  event.currentTarget.value = "";
                  if (value === "new") setNaming(true);
                  else move(value).catch(complain);
                }}
              >
                <option value="" disabled>
                  {t.move}
                </option>
                {folders.value.map((one) => (
                  <option key={one.id} value={one.id}>
                    {one.name}
                  </option>
                ))}
                <option value={NOWHERE}>{t.nowhere}</option>
                <option value="new">{t.newFolder}</option>
              </select>
              <button type="button" class="quiet" aria-label={words().card.remove} onClick={() => removeChosen(ids)}>
                <Icon name="trash" />
                <span>{words().card.remove}</span>
              </button>
              <Tool name="close" text={t.clear} run={() => select([])} />
            </>
          )}
        </>
      )}
    </div>
  );
}

/** Loads the next page when it comes near; a button for those who do not scroll. */
function More({ many }: { many: number }) {
  const t = words();
  const mark = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (mark.current === null) return;
    const watcher = new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting)) void showMore();
      },
      { rootMargin: "600px" },
    );
    watcher.observe(mark.current);
    return () => watcher.disconnect();
  }, [many]);
  return (
    <div class="more" ref={mark}>
      <button type="button" class="quiet" onClick={() => void showMore()}>
        {loadingMore.value ? t.state.loading : t.gallery.more}
      </button>
    </div>
  );
}
