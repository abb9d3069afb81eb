/** The storefront page: draws a Drop into the document. */

import { Dropgate } from "/client/v1/dropgate.js";
import { h, setText } from "/web/shared/dom.js";
import { hourAndMinute, inWords, money } from "/web/shared/format.js";

import { picture } from "./art.js";
import { Choice, fromId, namesOf } from "./choice.js";
import { Drop } from "./drop.js";
import { DemoShop, NoShop } from "./shop.js";
import { STAGES } from "./stages.js";

const CHOOSING = new Set(["before", "early_door", "door", "waiting", "buy", "sold_out", "paused"]);
const FADED = new Set(["sold_out", "over", "missing"]);
const ANNOUNCED_MS = [60_000, 30_000, 10_000];
const TROUBLES = {
  offline: "You seem to be offline. What you hold stays yours, and this page goes on by itself.",
  recovering: "The shop is catching its breath. Nothing is lost: your request is repeated by itself.",
  busy: "It is very busy right now. Your request is repeated by itself.",
  rate_limited: "That was quick. Your request is repeated by itself in a few seconds.",
};

const part = (id) => document.getElementById(id);

class Page {
  #drop;
  #choice = new Choice(part("choice"));
  #drawn = "";
  #stage = "";
  #stopTimer = () => {};
  #announced = Infinity;

  constructor(drop) {
    this.#drop = drop;
    drop.addEventListener("changed", () => this.draw());
  }

  draw() {
    const stage = this.#drop.stage;
    this.#drawSale(stage);
    this.#drawTrouble();
    const picture = JSON.stringify([stage, this.#seen()]);
    if (picture !== this.#drawn) {
      this.#drawn = picture;
      this.#drawStage(stage);
    }
  }

  /** The values that stages use: a stage is only redrawn after a change of one of these values. */
  #seen() {
    const { sale, place, reservation, order, selected, busy, refusal, connected } = this.#drop;
    const item = sale?.items.find((each) => each.sku === selected.sku);
    return [
      sale?.state, sale?.opens_at, sale?.waiting_room, place?.state, place?.ahead, place?.position,
      place?.estimated_wait_seconds, place?.likely_too_late, place?.admission_expires_at, reservation?.reservation_id,
      reservation?.expires_at, order?.events?.length, selected, item?.availability, item?.paused, busy,
      refusal?.code, refusal?.message, connected, this.#drop.passed,
    ];
  }

  #drawSale(stage) {
    const { sale, selected } = this.#drop;
    part("picture").classList.toggle("faded", FADED.has(stage));
    const [tone, word] = this.#pill(stage);
    part("pill").dataset.tone = tone;
    setText(part("pill-text"), word);
    if (stage === "missing") setText(part("name"), "Nothing here");
    if (sale === null) return;
    const { title } = namesOf(sale);
    const item = sale.items.find((each) => each.sku === selected.sku) ?? sale.items[0];
    setText(part("name"), title);
    setText(part("eyebrow"), title === fromId(sale.sale_id) ? "Limited release" : fromId(sale.sale_id));
    setText(part("price"), money(item.price));
    document.title = `${title} · ${word}`;
    if (part("picture").dataset.of !== title) {
      part("picture").dataset.of = title;
      part("picture").replaceChildren(picture(title));
    }
    this.#choice.draw(this.#drop, CHOOSING.has(stage));
  }

  #pill(stage) {
    const { sale } = this.#drop;
    if (stage === "missing") return ["stop", "Not found"];
    if (sale === null) return ["calm", "Looking"];
    if (stage === "sold_out") return ["stop", "Sold out"];
    switch (sale.state) {
      case "open": return ["go", "Open"];
      case "paused": return ["wait", "Paused"];
      case "closed": case "settled": return ["stop", "Over"];
      default: return ["calm", sale.opens_at ? `Opens ${hourAndMinute(sale.opens_at)}` : "Soon"];
    }
  }

  #drawTrouble() {
    const { trouble } = this.#drop;
    part("trouble").hidden = trouble === null;
    setText(part("trouble"), trouble === null ? "" : TROUBLES[trouble.kind]);
  }

  #drawStage(stage) {
    const section = part("stage");
    const focused = section.contains(document.activeElement) ? document.activeElement : null;
    this.#stopTimer();
    const { title, tone, parts, timer } = STAGES[stage](this.#drop);
    section.dataset.stage = stage;
    section.dataset.tone = tone;
    section.replaceChildren(h("h2", { id: "stage-title" }, title), ...parts.filter(Boolean));
    if (focused !== null) {
      const again = section.querySelector(`[data-action="${focused.dataset.action ?? ""}"]:not(:disabled)`);
      (again ?? section).focus({ preventScroll: true });
    }
    if (stage !== this.#stage) {
      this.#stage = stage;
      this.#announced = Infinity;
      this.#announce(title);
    }
    this.#stopTimer = timer ? this.#count(stage, title, timer) : () => {};
  }

  #count(stage, title, { instant, onTick }) {
    return this.#drop.clock.countdown(instant, (remaining) => {
      onTick(remaining);
      const mark = ANNOUNCED_MS.find((milliseconds) => remaining <= milliseconds && this.#announced > milliseconds);
      if (mark !== undefined && remaining > 0) {
        this.#announced = Math.min(...ANNOUNCED_MS.filter((milliseconds) => remaining <= milliseconds));
        this.#announce(stage === "held" ? `${inWords(remaining)} left to pay` : `${title} ${inWords(remaining)}`);
      }
      if (remaining === 0) this.#drop.timeIsUp();
    });
  }

  #announce(text) {
    setText(part("announcer"), text);
  }
}

async function saleId(shop) {
  const named = new URLSearchParams(location.search).get("sale");
  if (named) return named;
  const shown = await shop.saleToShow();
  if (shown) history.replaceState(null, "", `?sale=${encodeURIComponent(shown)}`);
  return shown;
}

async function begin() {
  const shop = new DemoShop();
  let id = null;
  try {
    id = await saleId(shop);
  } catch (error) {
    if (!(error instanceof NoShop)) throw error;
  }
  const gate = new Dropgate({ sale: id ?? "none", token: (rejected) => shop.token(rejected) });
  const drop = new Drop(gate, shop, id ?? "none");
  const page = new Page(drop);
  if (id === null) drop.missing = true;
  else await drop.start();
  part("demo-note").hidden = !drop.connected;
  page.draw();
}

begin();
