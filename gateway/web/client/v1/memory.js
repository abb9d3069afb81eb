/** What outlives a reload of this tab: sessionStorage, or nothing where the browser forbids it. */
export class TabMemory {
  #prefix;
  #kept = new Map();

  /** @param {string} prefix keeps sales apart */
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
      // Private windows and full storage: this page's own memory serves until it is closed.
    }
  }
}
