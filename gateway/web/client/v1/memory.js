/** Values that outlive a reload of this tab, in sessionStorage; else in the page's memory. */
export class TabMemory {
  #prefix;
  #kept = new Map();

  /** @param {string} prefix separates the values of different sales */
  constructor(prefix) {
    this.#prefix = prefix;
  }

  /** The value under a name, or null. */
  get(name) {
    try {
      const text = sessionStorage.getItem(this.#prefix + name);
      return text === null ? null : JSON.parse(text);
    } catch {
      return this.#kept.get(name) ?? null;
    }
  }

  /** Keep a value; null forgets it. */
  set(name, value) {
    this.#kept.set(name, value);
    try {
      if (value === null) sessionStorage.removeItem(this.#prefix + name);
      else sessionStorage.setItem(this.#prefix + name, JSON.stringify(value));
    } catch {
      // In private windows and with full storage the values last as long as the page.
    }
  }
}
