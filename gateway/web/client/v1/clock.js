/**
 * The server's time, on a device whose clock may be wrong.
 *
 * Every answer's Date header gives, to the second, the server's time between request and answer.
 * Each answer narrows the difference between the two clocks; a handful of answers gets it well
 * below a second. An answer that contradicts the known difference means that the device's clock was
 * set: the difference is then learned anew.
 */
export class ServerClock {
  #lowest = -Infinity; // bounds on server time minus device time, in milliseconds
  #highest = Infinity;
  #device;

  /** @param {() => number} [device] the device's time in milliseconds since 1970 */
  constructor(device = () => Date.now()) {
    this.#device = device;
  }

  /** The device's own time in milliseconds since 1970, for `learn`. */
  device() {
    return this.#device();
  }

  /**
   * Narrow the difference of the clocks by one answer.
   * @param {Headers} headers the answer's headers
   * @param {number} askedAt device time of the request
   */
  learn(headers, askedAt) {
    const date = Date.parse(headers.get("Date") ?? "");
    const heardAt = this.#device();
    // An answer from a cache does not have the server's current time.
    if (Number.isNaN(date) || Number(headers.get("Age") ?? 0) > 0 || heardAt < askedAt) return;
    const lowest = date - heardAt;
    const highest = date + 1000 - askedAt;
    this.#lowest = Math.max(this.#lowest, lowest);
    this.#highest = Math.min(this.#highest, highest);
    if (this.#lowest > this.#highest) {
      this.#lowest = lowest;
      this.#highest = highest;
    }
  }

  /** The server's time in milliseconds since 1970; before any answer the device's time. */
  now() {
    const known = Number.isFinite(this.#lowest) && Number.isFinite(this.#highest);
    return this.#device() + (known ? (this.#lowest + this.#highest) / 2 : 0);
  }

  /**
   * Call `onTick` with the milliseconds left until an instant: now, whenever another whole second
   * has passed, and for the last time at 0.
   * @param {string} instant RFC 3339
   * @param {(remainingMs: number) => void} onTick
   * @returns {() => void} stops the countdown
   */
  countdown(instant, onTick) {
    const until = Date.parse(instant);
    let timer = 0;
    const tick = () => {
      const remaining = Math.max(0, until - this.now());
      // A timer may fire a little early, so `onTick` gets the second that is about to begin.
      onTick(remaining);
      if (remaining > 0) timer = setTimeout(tick, Math.min(remaining % 1000 || 1000, remaining) + 5);
    };
    tick();
    return () => clearTimeout(timer);
  }
}
