// Server-sent events over fetch: unlike EventSource it says why it was refused, and goes on in a page that is loaded anew.

import { Unreachable, refusal } from "./api";

export interface ServerEvent {
  id: string | null;
  kind: string;
  data: string;
}

/** Events until the stream ends. Throws ApiError where it is refused, Unreachable where it breaks off. */
export async function* readEvents(
  url: string,
  lastEventId: string | null,
  signal: AbortSignal,
): AsyncGenerator<ServerEvent> {
  const headers: Record<string, string> = { Accept: "text/event-stream" };
  if (lastEventId) headers["Last-Event-ID"] = lastEventId;
  const answer = await fetch(url, { headers, signal }).catch(() => {
    throw new Unreachable();
  });
  if (!answer.ok || answer.body === null) throw await refusal(answer);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch(() => {
      throw new Unreachable();
    });
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const event = parse(block);
      if (event !== null) yield event;
    }
  }
}

function parse(block: string): ServerEvent | null {
  let id: string | null = null;
  let kind = "message";
  const data: string[] = [];
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "id") id = value;
    else if (name === "event") kind = value;
    else if (name === "data") data.push(value);
  }
  return data.length ? { id, kind, data: data.join("\n") } : null;
}
