/** Calls of the HTTP API: each ends with an answer, a Problem, or Unreachable. */

const CALL_TIMEOUT_MS = 10_000;
const PAUSE_FIRST_MS = 400;
const PAUSE_MOST_MS = 8_000;
/** Codes of problems that may pass when the request is repeated with its key. */
const PASSING_CODES = new Set([
  "recovering", "overloaded", "ledger_behind", "rate_limited", "request_timeout",
]);

/** The gateway refused the call: decide by `code`, show `detail` to developers. */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {Record<string, any>} body of application/problem+json
   * @param {number} retryAfterSeconds 0 without a Retry-After header
   */
  constructor(status, body, retryAfterSeconds) {
    super(body.detail || body.title || `HTTP ${status}`);
    this.name = "Problem";
    this.status = status;
    this.code = String(body.code ?? "unknown");
    this.body = body;
    this.retryAfterSeconds = retryAfterSeconds;
  }

  /** Whether a repeat of the request may succeed a little later. */
  get passes() {
    return PASSING_CODES.has(this.code) || this.status === 502 || this.status === 504;
  }
}

/** No answer: a network fault or a time-out. Whether the gateway acted is unknown. */
export class Unreachable extends Error {
  constructor(cause) {
    super("no answer from the gateway", { cause });
    this.name = "Unreachable";
  }

  get passes() {
    return true;
  }
}

/** Wait; rejects when `signal` aborts, resolves early when the network comes back. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const done = (settle) => () => {
      clearTimeout(timer);
      globalThis.removeEventListener?.("online", onOnline);
      signal?.removeEventListener("abort", onAbort);
      settle(signal?.reason);
    };
    const onOnline = done(resolve);
    const onAbort = done(reject);
    const timer = setTimeout(onOnline, milliseconds);
    globalThis.addEventListener?.("online", onOnline);
    signal?.addEventListener("abort", onAbort);
    if (signal?.aborted) onAbort();
  });
}

/** Milliseconds to wait before try `tries` + 1, spread so that a crowd does not return at once. */
export function pauseAfter(error, tries) {
  const grown = Math.min(PAUSE_MOST_MS, PAUSE_FIRST_MS * 2 ** tries);
  const asked = 1000 * (error.retryAfterSeconds ?? 0);
  return Math.max(asked, grown * (0.5 + Math.random() / 2)) + Math.random() * 250;
}

/**
 * Call `work` until it succeeds or fails for good.
 * @param {() => Promise<any>} work safe to repeat
 * @param {{signal?: AbortSignal, forMs?: number, onWait?: (error: Error, waitMs: number) => void}} options
 *   `forMs` bounds the time from the first try to the last, in milliseconds
 */
export async function insist(work, { signal, forMs = 120_000, onWait } = {}) {
  const giveUpAt = performance.now() + forMs;
  for (let tries = 0; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      const waitMs = pauseAfter(error, tries);
      if (!error.passes || signal?.aborted || performance.now() + waitMs > giveUpAt) throw error;
      onWait?.(error, waitMs);
      await pause(waitMs, signal);
    }
  }
}

/** Calls one gateway for one caller. */
export class Http {
  #base;
  #token;
  #clock;

  /**
   * @param {string} base address of the gateway, "" for the page's own
   * @param {(rejected?: string) => string | Promise<string>} token returns the caller's token;
   * after a
   *   401 it is called with the rejected token
   * @param {import("./clock.js").ServerClock} clock learns the server's time from every answer
   */
  constructor(base, token, clock) {
    this.#base = base.replace(/\/$/, "");
    this.#token = token;
    this.#clock = clock;
  }

  /** The answer's headers and decoded body. Throws Problem or Unreachable. */
  async json(method, path, { body, headers = {}, signal, anonymous = false } = {}) {
    const response = await this.response(method, path, { body, headers, signal, anonymous });
    return { headers: response.headers, body: await decoded(response) };
  }

  /** The response of a success, with its body unread. Throws Problem or Unreachable. */
  async response(method, path, { body, headers = {}, signal, anonymous = false, timeoutMs } = {}) {
    const token = anonymous ? null : await this.#asked();
    let response = await this.#send(method, path, token, body, headers, signal, timeoutMs);
    if (response.status === 401 && token !== null) {
      const renewed = await this.#asked(token);
      if (renewed !== token) {
        response = await this.#send(method, path, renewed, body, headers, signal, timeoutMs);
      }
    }
    if (!response.ok) throw await problemOf(response);
    return response;
  }

  /** The caller's token. A shop that could not be reached for it is one more network fault. */
  async #asked(rejected) {
    try {
      return await this.#token(rejected);
    } catch (error) {
      if (error instanceof TypeError || error.name === "TimeoutError") throw new Unreachable(error);
      throw error;
    }
  }

  async #send(method, path, token, body, headers, signal, timeoutMs = CALL_TIMEOUT_MS) {
    const sent = { Accept: "application/json", ...headers };
    if (token !== null) sent.Authorization = `Bearer ${token}`;
    if (body !== undefined) sent["Content-Type"] = "application/json";
    const inTime = AbortSignal.timeout(timeoutMs);
    const askedAt = this.#clock.device();
    try {
      const response = await fetch(this.#base + path, {
        method,
        headers: sent,
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: method === "GET" ? "no-cache" : "no-store",
        credentials: "omit",
        signal: signal ? AbortSignal.any([signal, inTime]) : inTime,
      });
      this.#clock.learn(response.headers, askedAt);
      return response;
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw new Unreachable(error);
    }
  }
}

async function decoded(response) {
  try {
    return await response.json();
  } catch (error) {
    throw new Unreachable(error);
  }
}

async function problemOf(response) {
  const text = await response.text().catch(() => "");
  let body = {};
  try {
    body = JSON.parse(text);
  } catch {
    body = { title: `The gateway answered ${response.status}` };
  }
  const seconds = Number(response.headers.get("Retry-After") ?? 0);
  return new Problem(response.status, body, Number.isFinite(seconds) ? seconds : 0);
}
