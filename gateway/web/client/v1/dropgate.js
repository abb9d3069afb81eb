/**
 * dropgate in a shop's own page: look at a sale, wait in its queue, reserve once and safely, count
 * down on the server's time. A plain ES module without dependencies; see the documentation's
 * reference page "Client module".
 *
 *   import { Dropgate } from "/client/v1/dropgate.js";
 *   const gate = new Dropgate({ sale: "summer-drop", token: () => fetchTokenFromYourShop() });
 *   const { reservation } = await gate.reserve([{ sku: "poster", quantity: 1 }]);
 */

import { ServerClock } from "./clock.js";
import { Http, Problem, Unreachable, insist } from "./http.js";
import { TabMemory } from "./memory.js";
import { Queue } from "./queue.js";

export { Problem, ServerClock, Unreachable };

const OVER = new Set(["cancelled", "expired"]);

export class Dropgate {
  #http;
  #memory;
  #sale;

  /**
   * @param {object} options
   * @param {string} options.sale id of the sale
   * @param {(rejected?: string) => string | Promise<string>} options.token a buyer's token, made by your
   *   server; called before each request, so keep it; called with the old one when that was refused
   * @param {string} [options.baseUrl] address of the gateway; default: the page's own origin
   */
  constructor({ sale, token, baseUrl = "" }) {
    this.clock = new ServerClock();
    this.#http = new Http(baseUrl, token, this.clock);
    this.#memory = new TabMemory(`dropgate:v1:${sale}:`);
    this.#sale = encodeURIComponent(sale);
    this.queue = new Queue(this.#http, sale, this.#memory);
  }

  /** The sale as everybody sees it. */
  async sale({ signal } = {}) {
    const path = `/v1/sales/${this.#sale}`;
    return (await this.#http.json("GET", path, { signal, anonymous: true })).body;
  }

  /**
   * Hold units. One Idempotency-Key belongs to one attempt, from the first request to the end of what
   * it reserved; it is kept in sessionStorage, so neither a repeat, a lost answer nor a reload of the page
   * can reserve twice. Repeats by itself what may pass (no answer, 429, 503), for two minutes.
   * @param {{sku: string, quantity: number, location?: string}[]} lines
   * @param {{signal?: AbortSignal, onWait?: (error: Error, waitMs: number) => void}} [options]
   * @returns {Promise<{reservation: object, replayed: boolean}>}
   */
  async reserve(lines, options = {}) {
    let attempt = this.#memory.get("attempt");
    if (attempt === null || JSON.stringify(attempt.lines) !== JSON.stringify(lines)) {
      attempt = this.#newAttempt(lines);
    }
    let answer = await this.#reserved(attempt, options);
    if (answer.replayed && OVER.has(answer.reservation.state)) {
      answer = await this.#reserved(this.#newAttempt(lines), options);
    }
    return answer;
  }

  /** The attempt this tab has begun and not heard the end of, for use after a reload; or null. */
  get unfinished() {
    const attempt = this.#memory.get("attempt");
    return attempt !== null && !attempt.reservation_id ? attempt.lines : null;
  }

  /** A reservation as it is now. */
  async reservation(id, { signal } = {}) {
    return (await this.#http.json("GET", `/v1/reservations/${encodeURIComponent(id)}`, { signal })).body;
  }

  /** Give held units back. Safe to repeat. */
  cancel(id, options = {}) {
    return this.#resolved(`/v1/reservations/${encodeURIComponent(id)}/cancel`, {}, options);
  }

  /** Hold for longer, up to the sale's cap. Not repeated by itself: a repeat extends again. */
  async extend(id, seconds, { signal } = {}) {
    const path = `/v1/reservations/${encodeURIComponent(id)}/extend`;
    return (await this.#http.json("POST", path, { signal, body: { seconds } })).body;
  }

  /** An order with its events. */
  async order(id, { signal } = {}) {
    return (await this.#http.json("GET", `/v1/orders/${encodeURIComponent(id)}`, { signal })).body;
  }

  /** The buyer's own orders in this sale, newest first (of the latest 50 in all sales). */
  async orders({ signal } = {}) {
    const { body } = await this.#http.json("GET", "/v1/orders", { signal });
    return body.orders.filter((order) => encodeURIComponent(order.sale_id) === this.#sale);
  }

  async #reserved(attempt, { signal, onWait }) {
    const headers = { "Idempotency-Key": attempt.key };
    const admission = this.#memory.get("admission");
    if (admission !== null) headers["Admission-Token"] = admission;
    const path = `/v1/sales/${this.#sale}/reservations`;
    let answer;
    try {
      answer = await insist(
        () => this.#http.json("POST", path, { headers, signal, body: { lines: attempt.lines } }),
        { signal, onWait },
      );
    } catch (error) {
      // Refused for good: the attempt is over. Without an answer it is not: the next try finds out.
      if (!error.passes && !signal?.aborted) this.#memory.set("attempt", null);
      throw error;
    }
    const reservation = answer.body;
    this.#memory.set("attempt", { ...attempt, reservation_id: reservation.reservation_id });
    this.#memory.set("admission", null); // spent, and the place in the queue with it
    this.queue.forget();
    return { reservation, replayed: answer.headers.get("Idempotent-Replayed") === "true" };
  }

  async #resolved(path, body, { signal, onWait }) {
    const work = () => this.#http.json("POST", path, { signal, body });
    return (await insist(work, { signal, onWait })).body;
  }

  #newAttempt(lines) {
    const attempt = { key: crypto.randomUUID(), lines };
    this.#memory.set("attempt", attempt);
    return attempt;
  }
}
