/**
 * dropgate in a shop's own page: read a sale, wait in its queue, reserve once and safely, count
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
   * @param {(rejected?: string) => string | Promise<string>} options.token returns a buyer's token,
   * made
   *   by your server; it is called before each request, so cache the token; after a 401 it is
   *   called with the rejected token
   * @param {string} [options.baseUrl] address of the gateway; default: the page's own origin
   */
  constructor({ sale, token, baseUrl = "" }) {
    this.clock = new ServerClock();
    this.#http = new Http(baseUrl, token, this.clock);
    this.#memory = new TabMemory(`dropgate:v1:${sale}:`);
    this.#sale = encodeURIComponent(sale);
    this.queue = new Queue(this.#http, sale, this.#memory);
  }

  /** The sale's public view. */
  async sale({ signal } = {}) {
    const path = `/v1/sales/${this.#sale}`;
    return (await this.#http.json("GET", path, { signal, anonymous: true })).body;
  }

  /**
   * Hold units. An Idempotency-Key belongs to one attempt, from its first request to the end of the
   * reservation; it is kept in sessionStorage, so neither a repeat, a lost answer nor a reload of
   * the page can reserve twice. Failures that may pass (no answer, 429, 503) are retried for two
   * minutes.
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

  /** Lines of an attempt that this tab began and has no answer to, e.g. after a reload; or null. */
  get unfinished() {
    const attempt = this.#memory.get("attempt");
    return attempt !== null && !attempt.reservation_id ? attempt.lines : null;
  }

  /** A reservation in its current state. */
  async reservation(id, { signal } = {}) {
    return (await this.#http.json("GET", `/v1/reservations/${encodeURIComponent(id)}`, { signal })).body;
  }

  /** Give held units back. A repeated call is safe. */
  cancel(id, options = {}) {
    return this.#resolved(`/v1/reservations/${encodeURIComponent(id)}/cancel`, {}, options);
  }

  /**
   * Hold for longer, up to the sale's cap. The call has an Idempotency-Key until it is answered, kept
   * in sessionStorage, so neither a repeat, a lost answer nor a reload of the page extends twice.
   * Failures that may pass are retried for two minutes.
   * @param {string} id of the reservation
   * @param {number} seconds to add
   * @param {{signal?: AbortSignal, onWait?: (error: Error, waitMs: number) => void}} [options]
   * @returns {Promise<object>} the reservation as it is now
   */
  async extend(id, seconds, options = {}) {
    let extension = this.#memory.get("extension");
    if (extension?.id !== id || extension.seconds !== seconds) {
      extension = { id, seconds, key: crypto.randomUUID() };
      this.#memory.set("extension", extension);
    }
    const path = `/v1/reservations/${encodeURIComponent(id)}/extend`;
    const headers = { "Idempotency-Key": extension.key };
    try {
      const reservation = await this.#resolved(path, { seconds }, { ...options, headers });
      this.#memory.set("extension", null);
      return reservation;
    } catch (error) {
      // Without an answer the key stays, for a repeat of the call to find what became of it.
      if (!error.passes && !options.signal?.aborted) this.#memory.set("extension", null);
      throw error;
    }
  }

  /** An order with its events. */
  async order(id, { signal } = {}) {
    return (await this.#http.json("GET", `/v1/orders/${encodeURIComponent(id)}`, { signal })).body;
  }

  /** The buyer's own orders in this sale, newest first, among the buyer's latest 50 orders. */
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
      // A final refusal ends the attempt. Without an answer the attempt stays, for a retry to
      // resolve.
      if (!error.passes && !signal?.aborted) this.#memory.set("attempt", null);
      throw error;
    }
    const reservation = answer.body;
    this.#memory.set("attempt", { ...attempt, reservation_id: reservation.reservation_id });
    this.#memory.set("admission", null); // spent, together with the place in the queue
    this.queue.forget();
    return { reservation, replayed: answer.headers.get("Idempotent-Replayed") === "true" };
  }

  async #resolved(path, body, { signal, onWait, headers }) {
    const work = () => this.#http.json("POST", path, { headers, signal, body });
    return (await insist(work, { signal, onWait })).body;
  }

  #newAttempt(lines) {
    const attempt = { key: crypto.randomUUID(), lines };
    this.#memory.set("attempt", attempt);
    return attempt;
  }
}
