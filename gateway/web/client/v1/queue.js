/** The waiting room: joining, and following one's place until it is decided. */

import { eventsOf } from "./event_stream.js";
import { Problem, Unreachable, insist, pause, pauseAfter } from "./http.js";

const SILENCE_MOST_MS = 45_000;
const POLL_DEFAULT_SECONDS = 5;
// Consecutive failures of event streams before polling takes over; some networks cut every stream.
const STREAMS_FAILED_MOST = 3;
const DECIDED = new Set(["admitted", "sold_out", "closed"]);

export class Queue {
  #http;
  #path;
  #memory;

  /**
   * @param {import("./http.js").Http} http
   * @param {string} sale
   * @param {import("./memory.js").TabMemory} memory keeps the ticket
   */
  constructor(http, sale, memory) {
    this.#http = http;
    this.#path = `/v1/sales/${encodeURIComponent(sale)}/queue`;
    this.#memory = memory;
  }

  /** Whether this tab has joined. */
  get joined() {
    return this.#memory.get("ticket") !== null;
  }

  /**
   * Join the queue. A buyer who has joined before keeps the place; an ended place is exchanged.
   * Retried until there is an answer.
   */
  async join({ signal, onWait } = {}) {
    const ask = async () => {
      const headers = this.#ticket();
      return (await this.#http.json("POST", this.#path, { headers, signal, body: {} })).body;
    };
    try {
      return this.#kept(await insist(ask, { signal, onWait }));
    } catch (error) {
      if (error.code !== "not_admitted" || !this.joined) throw error;
      this.forget(); // the ticket's place has ended
      return this.#kept(await insist(ask, { signal, onWait }));
    }
  }

  /** Forget this tab's ticket; joining again finds the buyer's place. */
  forget() {
    this.#memory.set("ticket", null);
    this.#memory.set("last_event", null);
  }

  /**
   * Yields the place whenever it changes, for the last time when it is decided (admitted, sold out,
   * closed). Uses server-sent events, or polling where events do not get through.
   * @param {{signal?: AbortSignal, onWait?: (error: Error, waitMs: number) => void}} options
   */
  async *places({ signal, onWait } = {}) {
    let place = await this.join({ signal, onWait });
    yield place;
    let failed = 0;
    while (!DECIDED.has(place.state)) {
      try {
        if (failed < STREAMS_FAILED_MOST) {
          for await (const next of this.#streamed(signal)) {
            failed = 0;
            place = next;
            yield place;
            if (DECIDED.has(place.state)) return;
          }
          failed += 1;
          await pause(pauseAfter({}, failed), signal);
        } else {
          await pause(1000 * (place.poll_after_seconds ?? POLL_DEFAULT_SECONDS), signal);
          place = await this.look({ signal });
          yield place;
        }
      } catch (error) {
        if (signal?.aborted) throw error;
        if (error instanceof Problem && error.code === "not_admitted") {
          place = await this.join({ signal, onWait }); // the ticket is no longer valid
          yield place;
        } else if (error instanceof Problem && !error.passes && failed >= STREAMS_FAILED_MOST) {
          throw error;
        }
        failed += 1;
        const waitMs = pauseAfter(error, Math.min(failed, 4));
        onWait?.(error, waitMs);
        await pause(waitMs, signal);
      }
    }
  }

  /** The place in its current state. */
  async look({ signal } = {}) {
    const headers = this.#ticket();
    const { body } = await this.#http.json("GET", this.#path, { headers, signal });
    return this.#kept(body);
  }

  async *#streamed(signal) {
    const silence = new AbortController();
    const either = signal ? AbortSignal.any([signal, silence.signal]) : silence.signal;
    let timer = 0;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MOST_MS);
    };
    heard();
    try {
      const headers = { ...this.#ticket(), Accept: "text/event-stream" };
      const last = this.#memory.get("last_event");
      if (last !== null) headers["Last-Event-ID"] = last;
      const response = await this.#http.response("GET", `${this.#path}/events`, {
        headers,
        signal: either,
        timeoutMs: 2 ** 31 - 1,
      });
      if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
        throw new Unreachable(new Error("not an event stream"));
      }
      for await (const { event, data, id } of eventsOf(response.body, heard)) {
        if (event === "problem") throw new Problem(403, JSON.parse(data), 0);
        if (id !== null) this.#memory.set("last_event", id);
        yield this.#kept(JSON.parse(data));
      }
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw error instanceof Problem ? error : new Unreachable(error);
    } finally {
      clearTimeout(timer);
      silence.abort();
    }
  }

  #ticket() {
    const ticket = this.#memory.get("ticket");
    return ticket === null ? {} : { "Queue-Ticket": ticket };
  }

  #kept(place) {
    if (place.ticket) this.#memory.set("ticket", place.ticket);
    if (place.admission_token) this.#memory.set("admission", place.admission_token);
    return place;
  }
}
