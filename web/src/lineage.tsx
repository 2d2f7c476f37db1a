// What came from what: a video's ancestors and descendants as a small tree.

import { useEffect, useState } from "preact/hooks";
import { api, contentUrl, type Lineage, type Video } from "./api";
import { Icon, Link, reason } from "./parts";
import { videoPath } from "./route";
import { leaving, put, videoById, videos, watched } from "./state";
import { words } from "./strings";

interface Node {
  id: string;
  video: Video | null; // null is gone
  children: Node[];
}

/** A tree of a family that may marry within itself: who has two sources stands under each, with children under the first. */
function treeOf(family: readonly Video[], missing: readonly string[]): Node[] {
  family = [...family].sort((a, b) => a.created_at - b.created_at);
  const there = new Map(family.map((video) => [video.id, video]));
  const told = new Set<string>();
  const nodeOf = (id: string): Node => {
    const isNew = !told.has(id);
    told.add(id);
    const children = isNew ? family.filter((one) => one.hibari.sources.includes(id)) : [];
    return { id, video: there.get(id) ?? null, children: children.map((one) => nodeOf(one.id)) };
  };
  const named = (video: Video) => video.hibari.sources.some((id) => there.has(id) || missing.includes(id));
  const roots = [...missing, ...family.filter((video) => !named(video)).map((video) => video.id)];
  return roots.map(nodeOf);
}

export function LineageTree({ video }: { video: Video }) {
  const t = words().clip;
  const [told, setTold] = useState<Lineage | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const born = videos.value.filter((one) => one.hibari.sources.includes(video.id)).length;
  useEffect(() => {
    let stale = false;
    watched(api.lineage(video.id)).then(
      (answer) => {
        put(answer.data);
        if (!stale) setTold(answer);
      },
      (error: unknown) => !stale && setProblem(reason(error)),
    );
    return () => {
      stale = true;
    };
  }, [video.id, born]);
  if (told === null) return <p class="hint">{problem ?? words().state.loading}</p>;
  const family = told.data.filter((one) => !leaving.value.has(one.id)).map((one) => videoById(one.id) ?? one);
  if (family.length < 2 && told.missing.length === 0) {
    const fromFile = video.hibari.kind !== "prompt" && video.hibari.kind !== "storyboard";
    return <p class="hint">{fromFile ? t.fromFile : t.alone}</p>;
  }
  return (
    <>
      <ul class="lineage" onKeyDown={arrows}>
        {treeOf(family, told.missing).map((node) => (
          <Branch key={node.id} node={node} here={video.id} />
        ))}
      </ul>
      {told.has_more && <p class="hint">{t.moreFamily}</p>}
    </>
  );
}

function Branch({ node, here }: { node: Node; here: string }) {
  const t = words().clip;
  const { video } = node;
  return (
    <li>
      {video === null ? (
        <span class="relative">
          <Icon name="trash" />
          {t.goneSource}
        </span>
      ) : (
        <Link to={videoPath(video.id)} class="relative" aria-current={video.id === here ? "page" : undefined}>
          {video.status === "completed" ? (
            <img src={contentUrl(video.id, "thumbnail")} alt="" loading="lazy" />
          ) : (
            <Icon name={video.status === "failed" ? "warning" : "make"} />
          )}
          <span>{nameOf(video)}</span>
        </Link>
      )}
      {node.children.length > 0 && (
        <ul>
          {node.children.map((child) => (
            <Branch key={child.id} node={child} here={here} />
          ))}
        </ul>
      )}
    </li>
  );
}

/** Up and down from one relative to the next; Tab works as everywhere. */
function arrows(event: KeyboardEvent & { currentTarget: HTMLElement }): void {
  const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
  if (step === 0) return;
  const links = [...event.currentTarget.querySelectorAll<HTMLElement>("a")];
  const next = links[links.indexOf(document.activeElement as HTMLElement) + step];
  if (next === undefined) return;
  event.preventDefault();
  next.focus();
}

function nameOf(video: Video): string {
  const tool = video.hibari.tool && words().recipe.toolNames[video.hibari.tool];
  return tool ? `${tool}: ${video.prompt}` : video.prompt;
}
