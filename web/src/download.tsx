// A finished video as a file: as it is, or as what chats and slides take.

import { useState } from "preact/hooks";
import { content, contentUrl, type Video } from "./api";
import { Icon, reason, say } from "./parts";
import { words } from "./strings";

const OTHERS = ["gif", "webp"] as const;

export function Download({ video }: { video: Video }) {
  const t = words().download;
  const [busy, setBusy] = useState<string | null>(null);
  const save = async (kind: (typeof OTHERS)[number]) => {
    if (busy !== null) return;
    setBusy(kind);
    try {
      const url = URL.createObjectURL(await content(video.id, kind));
      const link = document.createElement("a");
      link.href = url;
      link.download = `${video.id}.${kind}`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    } catch (error) {
      say(reason(error));
    } finally {
      setBusy(null);
    }
  };
  return (
    <div class="download" role="group" aria-label={t.label}>
      <a class="button quiet" href={contentUrl(video.id)} download={`${video.id}.mp4`} aria-describedby="marks">
        <Icon name="download" />
        MP4
      </a>
      {OTHERS.map((kind) => (
        <button
          type="button"
          class="quiet"
          key={kind}
          aria-busy={busy === kind}
          aria-describedby="marks"
          onClick={() => void save(kind)}
        >
          {busy === kind ? t.converting : t.kinds[kind]}
        </button>
      ))}
      <p class="hint" id="marks">
        {t.marks}
      </p>
    </div>
  );
}
