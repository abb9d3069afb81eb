/** Server-sent events read with fetch, because EventSource cannot send headers and so no token. */

/**
 * The events of one response, until the response ends.
 * @param {ReadableStream<Uint8Array>} stream
 * @param {() => void} onBytes called whenever bytes arrive, heartbeats included
 * @yields {{event: string, data: string, id: string | null, retryMs: number | null}}
 */
export async function* eventsOf(stream, onBytes = () => {}) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      onBytes();
      rest += value;
      // An event ends with an empty line; lines end with LF, CRLF or CR.
      // A CR at the very end may be half of a CRLF, so it stays in `rest` until more bytes come.
      const whole = rest.endsWith("\r") ? rest.slice(0, -1) : rest;
      const held = rest.slice(whole.length);
      const blocks = whole.replace(/\r\n?/g, "\n").split("\n\n");
      rest = blocks.pop() + held;
      for (const block of blocks) {
        const parsed = parsedEvent(block);
        if (parsed) yield parsed;
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** The event in a block of lines; null for a block of comments. */
export function parsedEvent(block) {
  const found = { event: "message", data: [], id: null, retryMs: null };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon === 0) continue;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") found.event = value;
    else if (name === "data") found.data.push(value);
    else if (name === "id") found.id = value;
    else if (name === "retry" && /^\d+$/.test(value)) found.retryMs = Number(value);
  }
  if (found.data.length === 0) return null;
  return { ...found, data: found.data.join("\n") };
}
