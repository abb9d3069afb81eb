/** The view of one sale: its state and buttons, tiles, charts, and the open panel. */

import { h, setText } from "/web/shared/dom.js";
import { dayAndTime, timeOfDay } from "/web/shared/format.js";

import { Charts, shown } from "./charts.js";
import { explained, saleUrl } from "./desk.js";
import { typed } from "./dialogs.js";
import { History } from "./figures.js";
import { PANELS } from "./panels.js";

const READ_MS = 1000;
const VERBS = {
  draft: ["open"], scheduled: ["open"], open: ["pause", "close"], paused: ["resume", "close"],
  closed: ["settle"], settled: [],
};
const DONE = { open: "Opened.", pause: "Paused.", resume: "Resumed.", close: "Closed.", settle: "Settled." };
const FINAL = {
  close: "A closed sale takes no more reservations and cannot be opened again. What is held can still be paid.",
  settle: "The books are closed: the final accounting is stored and Redis forgets the sale.",
};
const LAG_MOST_SECONDS = 30;

const part = (id) => document.getElementById(id);

export class SaleView {
  #desk;
  #charts = new Charts(part("charts"));
  #saleId = null;
  #history = new History();
  #figures = null;
  #timer = 0;
  #live = null;
  #panel = PANELS[0].id;
  #state = "";

  constructor(desk) {
    this.#desk = desk;
    this.#buildTabs();
  }

  /** Show a sale; null shows none. */
  async open(saleId) {
    clearTimeout(this.#timer);
    this.#saleId = saleId;
    this.#history = new History();
    this.#figures = null;
    this.#state = "";
    part("sale").hidden = saleId === null;
    if (saleId === null) return;
    this.#say("");
    setText(part("sale-name"), saleId);
    this.#charts.reset();
    await this.#read();
    await this.#openPanel(this.#panel);
  }

  async #read() {
    const saleId = this.#saleId;
    clearTimeout(this.#timer);
    try {
      const figures = await this.#desk.get(saleUrl(saleId, "/figures"));
      if (saleId !== this.#saleId) return;
      this.#figures = figures;
      this.#draw(figures, this.#history.add(figures));
      setText(part("heard"), `as of ${timeOfDay(figures.read_at)}`);
    } catch (error) {
      if (saleId !== this.#saleId || !this.#desk.signedIn) return;
      setText(part("heard"), explained(error));
    }
    this.#timer = setTimeout(() => this.#read(), READ_MS);
  }

  #draw(figures, values) {
    if (this.#state !== figures.state) {
      this.#state = figures.state;
      part("state").dataset.state = figures.state;
      setText(part("state"), figures.state);
      this.#drawButtons(figures.state);
    }
    const times = [["opens", figures.opens_at], ["closes", figures.closes_at]]
      .filter(([, instant]) => instant).map(([word, instant]) => `${word} ${dayAndTime(instant)}`);
    setText(part("times"), times.join(" · ") || "Opened and closed by hand");
    this.#drawTiles(figures, values);
    this.#charts.draw(this.#history);
    this.#live?.(figures);
  }

  #drawTiles({ pipeline, items, waiting_room: room }, values) {
    const tiles = [
      ["Available", shown(values.available)], ["Held", shown(values.held)], ["Sold", shown(values.sold)],
      ...(room ? [["Waiting", shown(room.waiting)], ["Admitted", shown(room.admitted)]] : []),
      ["Accepted", shown(values.accepted, "/s")],
      ["99 % within", shown(values.p99, " ms")],
      ["Outbox", shown(pipeline?.outbox_length)],
      ["Ledger behind", shown(pipeline?.ledger_lag_seconds, " s"), pipeline?.ledger_lag_seconds > LAG_MOST_SECONDS || pipeline?.stopped],
      ["Drift", shown(pipeline?.drift), pipeline?.drift > 0],
      ["Dead letters", shown(pipeline?.dead_letters), pipeline?.dead_letters > 0],
      ...(pipeline?.recovering ? [["Partition", "recovering", true]] : []),
      ...(items?.some((item) => item.paused) ? [["Paused items", String(items.filter((item) => item.paused).length)]] : []),
    ];
    part("tiles").replaceChildren(...tiles.map(([name, value, wrong]) =>
      h("div", { "data-tone": wrong ? "stop" : null }, h("dt", {}, name), h("dd", {}, value))));
  }

  #drawButtons(state) {
    part("buttons").replaceChildren(...VERBS[state].map((verb) => h(
      verb in FINAL ? "button.button.danger" : "button.button",
      { type: "button", "data-verb": verb, onclick: () => this.#change(verb) },
      verb.charAt(0).toUpperCase() + verb.slice(1) + (verb in FINAL ? " …" : ""))));
  }

  async #change(verb) {
    const { version } = this.#figures;
    await this.#act(async () => {
      if (verb in FINAL && !(await typed({
        title: `${verb.charAt(0).toUpperCase()}${verb.slice(1)} the sale`, text: FINAL[verb],
        word: this.#saleId, action: `${verb.charAt(0).toUpperCase()}${verb.slice(1)} it`,
      }))) return false;
      return this.#desk.change(saleUrl(this.#saleId, `/${verb}`), version);
    }, DONE[verb]);
  }

  /** Run `work`, report its result, and read the sale again. `work` returns false if called off. */
  #act = async (work, done) => {
    try {
      const result = await work();
      if (result === false) return;
      if (done) this.#say(typeof done === "function" ? done(result) : done, "go");
    } catch (error) {
      this.#say(explained(error), "stop");
    }
    if (this.#desk.signedIn) await this.#read();
  };

  #say(text, tone = "go") {
    part("notice").hidden = text === "";
    part("notice").dataset.tone = tone;
    setText(part("notice"), text);
  }

  #buildTabs() {
    const tabs = PANELS.map(({ id, title }) => h("button", {
      type: "button", role: "tab", id: `tab-${id}`, "aria-controls": "panel", onclick: () => this.#openPanel(id),
    }, title));
    part("tabs").replaceChildren(...tabs);
    part("tabs").addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step === undefined) return;
      const at = tabs.indexOf(document.activeElement);
      const next = tabs[(at + step + tabs.length) % tabs.length];
      next.focus();
      next.click();
    });
  }

  async #openPanel(id) {
    this.#panel = id;
    this.#live = null;
    for (const tab of part("tabs").children) {
      const selected = tab.id === `tab-${id}`;
      tab.setAttribute("aria-selected", String(selected));
      tab.tabIndex = selected ? 0 : -1;
    }
    part("panel").setAttribute("aria-labelledby", `tab-${id}`);
    const { show } = PANELS.find((panel) => panel.id === id);
    const saleId = this.#saleId;
    const again = () => this.#openPanel(id);
    try {
      const { parts, live = null } = await show({ desk: this.#desk, saleId, act: this.#act, again });
      if (id !== this.#panel || saleId !== this.#saleId) return;
      part("panel").replaceChildren(...parts.filter(Boolean));
      this.#live = live;
      if (this.#figures) live?.(this.#figures);
    } catch (error) {
      if (this.#desk.signedIn) part("panel").replaceChildren(h("p.bad", {}, explained(error)));
    }
  }
}
