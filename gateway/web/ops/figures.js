/** Rates and percentiles from counters: the changes between two readings. */

const KEPT_READINGS = 900;

/** The latest readings of one sale as columns for charts; `null` is a gap, never a zero. */
export class History {
  times = [];
  #columns = new Map();
  #last = null;

  /** Add a reading of GET …/figures; returns its derived values by name. */
  add(figures) {
    const now = Date.parse(figures.read_at) / 1000;
    const values = { ...levels(figures), ...changes(this.#last, figures) };
    this.#last = figures;
    this.times.push(now);
    for (const [name, value] of Object.entries(values)) {
      if (!this.#columns.has(name)) this.#columns.set(name, Array(this.times.length - 1).fill(null));
      this.#columns.get(name).push(value ?? null);
    }
    for (const column of this.#columns.values()) {
      if (column.length < this.times.length) column.push(null);
    }
    if (this.times.length > KEPT_READINGS) {
      for (const column of [this.times, ...this.#columns.values()]) column.shift();
    }
    return values;
  }

  /** Names of columns that begin with a prefix, in the order of their first appearance. */
  named(prefix) {
    return [...this.#columns.keys()].filter((name) => name.startsWith(prefix));
  }

  column(name) {
    return this.#columns.get(name) ?? Array(this.times.length).fill(null);
  }
}

function levels({ items, pipeline, waiting_room: room }) {
  const sum = (field) => (items === null ? null : items.reduce((total, item) => total + item[field], 0));
  return {
    available: sum("available"), held: sum("held"), sold: sum("sold"),
    outbox: pipeline?.outbox_length ?? null,
    lag: pipeline?.ledger_lag_seconds ?? null, drift: pipeline?.drift ?? null,
    waiting: room?.waiting ?? null, admitted: room?.admitted ?? null,
  };
}

function changes(last, { gateway, read_at: readAt }) {
  if (last === null) return {};
  const seconds = (Date.parse(readAt) - Date.parse(last.read_at)) / 1000;
  const before = last.gateway;
  if (seconds <= 0 || gateway.accepted < before.accepted) return {};
  const values = { accepted: (gateway.accepted - before.accepted) / seconds };
  for (const [code, count] of Object.entries(gateway.refused)) {
    values[`refused:${code}`] = (count - (before.refused[code] ?? 0)) / seconds;
  }
  const counts = gateway.reserve_latency.counts.map(
    (count, index) => count - before.reserve_latency.counts[index]);
  for (const share of [50, 99]) {
    values[`p${share}`] = percentile(gateway.reserve_latency.bounds_ms, counts, share / 100);
  }
  return values;
}

/**
 * A percentile, in ms, of calls counted by bounds. Calls are taken as evenly spread within a bound;
 * beyond the last bound the result is that bound. Null when no call was counted.
 */
export function percentile(bounds, counts, share) {
  const all = counts.reduce((sum, count) => sum + count, 0);
  if (all === 0) return null;
  let rest = share * all;
  for (let index = 0; index < bounds.length; index += 1) {
    if (rest <= counts[index]) {
      const from = index === 0 ? 0 : bounds[index - 1];
      return from + (bounds[index] - from) * (rest / counts[index]);
    }
    rest -= counts[index];
  }
  return bounds.at(-1);
}
