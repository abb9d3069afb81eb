/** The charts, drawn by uPlot. Each chart has a legend with the newest values, for screen readers
too. */

import { h, setText } from "/web/shared/dom.js";
import { count, timeOfDay } from "/web/shared/format.js";

const SERIES = 8;
const HEIGHT = 150;
const COMPACT_FROM = 1_000_000;
const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });

/** {title, names: columns, or a prefix ending in ":", unit, words: the legend's word for a column}
*/
const CHARTS = [
  { title: "Units", names: ["available", "held", "sold"], unit: "", words: { available: "available", held: "held", sold: "sold" } },
  { title: "Waiting room", names: ["waiting", "admitted"], unit: "", words: { waiting: "waiting", admitted: "admitted" } },
  { title: "Reserves per second", names: ["accepted", "refused:"], unit: "/s", words: { accepted: "accepted" } },
  { title: "Time to answer a reserve", names: ["p50", "p99"], unit: " ms", words: { p50: "half within", p99: "99 % within" } },
  { title: "Events in the outbox", names: ["outbox"], unit: "", words: { outbox: "events" } },
  { title: "Ledger behind", names: ["lag"], unit: " s", words: { lag: "oldest event" } },
  { title: "Drift", names: ["drift"], unit: "", words: { drift: "unrepaired differences" } },
];

export class Charts {
  #drawn = [];
  #root;

  /** @param {HTMLElement} root */
  constructor(root) {
    this.#root = root;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.reset());
    new ResizeObserver(() => this.#fit()).observe(root);
  }

  /** Clear all charts, for another sale. */
  reset() {
    for (const chart of this.#drawn) chart.plot?.destroy();
    this.#drawn = CHARTS.map((chart) => {
      const legend = h("ul.legend");
      const place = h("div.plot", { "aria-hidden": "true" });
      const card = h("div.chart", {}, h("h3", {}, chart.title), legend, place);
      return { ...chart, legend, place, card, columns: "", plot: null };
    });
    this.#root.replaceChildren(...this.#drawn.map((chart) => chart.card));
  }

  /** @param {import("./figures.js").History} history */
  draw(history) {
    for (const chart of this.#drawn) {
      const columns = columnsOf(chart, history);
      chart.card.hidden = columns.every((name) => history.column(name).every((value) => value === null));
      if (chart.card.hidden) continue;
      const data = [history.times, ...columns.map((name) => history.column(name))];
      if (chart.columns !== columns.join()) {
        chart.columns = columns.join();
        chart.plot?.destroy();
        chart.plot = this.#plotted(chart, columns, data);
        chart.legend.replaceChildren(...columns.map((name, index) =>
          h("li", { "data-series": (index % SERIES) + 1 }, `${wordOf(chart, name)} `, h("b"))));
      }
      chart.plot.setData(data);
      columns.forEach((name, index) => {
        const value = history.column(name).at(-1);
        setText(chart.legend.children[index].querySelector("b"), shown(value, chart.unit));
      });
    }
    this.#fit();
  }

  #plotted(chart, columns, data) {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: color("--ink-soft"), grid: { stroke: color("--grid"), width: 1 }, ticks: { show: false }, font: "12px Bricolage Grotesque, sans-serif" };
    return new globalThis.uPlot({
      width: chart.place.clientWidth || 320,
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      scales: { y: { range: (_plot, _low, high) => [0, Math.max(1, (high ?? 0) * 1.1)] } },
      axes: [{ ...axis, space: 90, size: 30, values: (_plot, ticks) => ticks.map((tick) => timeOfDay(1000 * tick)) }, { ...axis, size: 46, values: (_plot, ticks) => ticks.map((tick) => short.format(tick)) }],
      series: [{}, ...columns.map((_, index) => ({
        stroke: color(`--series-${(index % SERIES) + 1}`), width: 2, points: { show: false },
      }))],
    }, data, chart.place);
  }

  #fit() {
    for (const { plot, place } of this.#drawn) {
      if (plot && place.clientWidth > 0 && plot.width !== place.clientWidth) {
        plot.setSize({ width: place.clientWidth, height: HEIGHT });
      }
    }
  }
}

function columnsOf(chart, history) {
  return chart.names.flatMap((name) => (name.endsWith(":") ? history.named(name) : [name]));
}

function wordOf(chart, name) {
  return chart.words[name] ?? name.split(":").at(-1).replaceAll("_", " ");
}

/** A value with its unit; a dash for an unknown value. */
export function shown(value, unit = "") {
  if (value === null || value === undefined) return "–";
  if (value >= COMPACT_FROM) return `${short.format(value)}${unit}`;
  return `${count(Number(value.toFixed(value < 10 && unit ? 1 : 0)))}${unit}`;
}
