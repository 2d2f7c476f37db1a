// All one's own videos.

import { useEffect, useRef, useState } from "preact/hooks";
import { VideoCard } from "./card";
import { Link } from "./parts";
import { hasMore, loadMore, loadingMore, videos } from "./state";
import { words } from "./strings";

export function GalleryPage() {
  const t = words();
  const [wanted, setWanted] = useState("");
  const needle = wanted.trim().toLocaleLowerCase();
  const found = needle ? videos.value.filter((video) => video.prompt.toLocaleLowerCase().includes(needle)) : videos.value;
  return (
    <div class="gallery">
      <div class="heading">
        <h1>{t.gallery.title}</h1>
        <span class="count" role="status">
          {found.length > 0 ? t.gallery.count(found.length) : ""}
        </span>
        <input
          type="search"
          class="search"
          aria-label={t.gallery.search}
          placeholder={t.gallery.search}
          value={wanted}
          onInput={(event) => setWanted(event.currentTarget.value)}
        />
      </div>
      {videos.value.length === 0 ? (
        <p class="empty">
          {t.gallery.empty} <Link to="/">{t.state.home}</Link>
        </p>
      ) : found.length === 0 ? (
        <p class="empty">{t.gallery.noMatch(wanted)}</p>
      ) : (
        <ul class="grid">
          {found.map((video) => (
            <VideoCard key={video.id} video={video} />
          ))}
        </ul>
      )}
      {hasMore.value && <More />}
    </div>
  );
}

/** Loads the next page when it comes near; a button for those who do not scroll. */
function More() {
  const t = words();
  const mark = useRef<HTMLDivElement>(null);
  const many = videos.value.length;
  useEffect(() => {
    if (mark.current === null) return;
    const watcher = new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting)) void loadMore();
      },
      { rootMargin: "600px" },
    );
    watcher.observe(mark.current);
    return () => watcher.disconnect();
  }, [many]);
  return (
    <div class="more" ref={mark}>
      <button type="button" class="quiet" onClick={() => void loadMore()}>
        {loadingMore.value ? t.state.loading : t.gallery.more}
      </button>
    </div>
  );
}
