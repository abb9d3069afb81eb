/**
 * The server's time on a device whose clock may be wrong.
 *
 * Every answer's Date header says, to the second, what time it was at the server between asking and
 * hearing. Each answer narrows the difference between the two clocks; a handful of them gets it well
 * below a second. An answer that contradicts what is known means that the device's clock was set:
 * what was known is then forgotten.
 */
export class ServerClock {
  #lowest = -Infinity; // bounds on server time minus device time, in milliseconds
  #highest = Infinity;
  #device;

  /** @param {() => number} [device] the device's time in milliseconds since 1970 */
  constructor(device = () => Date.now()) {
    this.#device = device;
  }

  /** The device's own time, for `learn`. */
  device() {
    return this.#device();
  }

  /**
   * Learn from one answer.
   * @param {Headers} headers those of the answer
   * @param {number} askedAt device time when it was asked for
   */
  learn(headers, askedAt) {
    const date = Date.parse(headers.get("Date") ?? "");
    const heardAt = this.#device();
    // What a cache kept is not the server's time of now.
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

  /** The server's time in milliseconds since 1970; the device's before anything was learned. */
  now() {
    const known = Number.isFinite(this.#lowest) && Number.isFinite(this.#highest);
    return this.#device() + (known ? (this.#lowest + this.#highest) / 2 : 0);
  }

  /**
   * Call `onTick` with the milliseconds left until an instant, now and whenever a whole second of
   * them has passed, and for the last time at 0.
   * @param {string} instant RFC 3339
   * @param {(remainingMs: number) => void} onTick
   * @returns {() => void} stops it
   */
  countdown(instant, onTick) {
    const until = Date.parse(instant);
    let timer = 0;
    const tick = () => {
      const remaining = Math.max(0, until - this.now());
      // A whole second is told when it begins, so a timer that fires a little early tells it too.
      onTick(remaining);
      if (remaining > 0) timer = setTimeout(tick, Math.min(remaining % 1000 || 1000, remaining) + 5);
    };
    tick();
    return () => clearTimeout(timer);
  }
}
