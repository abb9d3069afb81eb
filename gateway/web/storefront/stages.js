/** What visitors see and can do, by stage: each stage has a heading, a tone and its elements. */

import { h, svg } from "/web/shared/dom.js";
import { clock, count, dayAndTime, inWords, money, timeOfDay } from "/web/shared/format.js";

const SHORT_MS = 30_000;
const EVENTS = {
  PENDING: "Held for you", CONFIRMED: "Paid", CANCELLED: "Given back", EXPIRED: "Time ran out",
  EXTENDED: "Held for longer", RETURNED: "Returned",
};

/**
 * @typedef {object} Picture
 * @property {string} title
 * @property {"calm" | "go" | "wait"} tone
 * @property {(Node | null | false)[]} parts
 * @property {{instant: string, onTick: (remainingMs: number) => void}} [timer]
 */

/** @type {Record<string, (drop: import("./drop.js").Drop) => Picture>} */
export const STAGES = {
  loading: () => said("One moment", "Looking at the drop."),
  missing: () => said("There is no such drop", "Check the address, or ask the shop for a new link."),
  before: (drop) => opening(drop, drop.place === null ? [] : [
    h("p", {}, "You are in. ", drop.sale.waiting_room?.order === "draw"
      ? "Places are drawn the moment it opens, so there is no need to hurry."
      : `${drop.place.position === null ? "" : `You are number ${count(drop.place.position)}. `}Your place is kept, also if you reload.`),
  ]),
  early_door: (drop) => opening(drop, [
    h("p", {}, drop.sale.waiting_room.order === "draw"
      ? "Everyone who joins before it opens has the same chance: places are drawn by lot."
      : "Places are given in the order of arrival."),
    action(drop, "join", "Join the queue"),
  ]),
  door: (drop) => ({
    title: drop.passed ? "Your turn has passed" : "It is open", tone: "go",
    parts: [
      h("p", {}, drop.passed
        ? "Others were let in meanwhile. You may take a new place in the queue."
        : "Take a place in the queue. It moves as fast as the shop can serve."),
      refusalOf(drop),
      action(drop, "join", "Join the queue")],
  }),
  waiting,
  buy,
  reserving: () => said("Asking for your unit", "Stay here. If the connection breaks, the same request is repeated: you never get it twice.", "wait"),
  held,
  ordered,
  lapsed: (drop) => ({
    title: "The time ran out", tone: "calm",
    parts: [h("p", {}, "Your unit went back to the shelf. If some are left, you may try again."),
      button("again", "Back to the drop", () => drop.again())],
  }),
  limit: () => said("You have your share", "You already hold or bought as many as one person may have."),
  sold_out: () => said("All gone", "Every unit is sold or held by somebody. A hold that runs out comes back: this page notices by itself."),
  paused: () => said("A short break", "The shop has paused the drop. What you hold or waited for is kept; this page goes on by itself.", "wait"),
  over: () => said("This drop is over", "Thank you for being here."),
};

function said(title, text, tone = "calm") {
  return { title, tone, parts: [h("p", {}, text)] };
}

function opening(drop, parts) {
  const opensAt = drop.sale.opens_at;
  if (!opensAt) return { title: "Soon", tone: "calm", parts: [h("p", {}, "The time is not set yet."), ...parts] };
  const figure = h("p.timer", { role: "timer", "aria-label": `until ${dayAndTime(opensAt)}` });
  const when = h("small", {}, dayAndTime(opensAt));
  const digits = document.createTextNode("");
  figure.append(digits, when);
  return {
    title: "Opens in", tone: "calm", parts: [figure, ...parts],
    timer: {
      instant: opensAt,
      onTick: (remaining) => { digits.data = remaining > 0 ? clock(remaining) : "Opening …"; },
    },
  };
}

function waiting(drop) {
  const { ahead, position, likely_too_late: late } = drop.place;
  const { estimated_wait_seconds: likely, estimated_wait_low_seconds: low, estimated_wait_high_seconds: high } = drop.place;
  if (position === null || drop.sale.state !== "open") return STAGES.before(drop);
  return {
    title: "You are in line", tone: "wait",
    parts: [
      h("dl.facts", {},
        h("div", {}, h("dt", {}, "People ahead"), h("dd", {}, ahead === null ? "–" : count(ahead))),
        h("div", {}, h("dt", {}, "About"), h("dd", {}, likely === null ? "–" : inWords(1000 * likely))),
        h("div", {}, h("dt", {}, "Your number"), h("dd", {}, count(position)))),
      late
        ? h("p", {}, h("strong", {}, "It may be too late. "), "More people are ahead of you than units are left. Some holds run out, so waiting can still pay.")
        : low !== null && high !== null && h("p", {}, `Between ${inWords(1000 * low)} and ${inWords(1000 * high)} at the present pace.`),
      h("p", {}, "Your place is kept. You may reload, or come back in another tab."),
    ],
  };
}

function buy(drop) {
  const item = drop.sale.items.find((each) => each.sku === drop.selected.sku);
  const total = { ...item.price, amount: item.price.amount * drop.selected.quantity };
  const until = drop.place?.admission_expires_at;
  const left = h("strong", {}, "");
  const gone = item.availability === "none" || item.paused;
  return {
    title: until ? "Your turn" : "It is open", tone: "go",
    parts: [
      h("p", {}, `Reserve now and you have ${inWords(1000 * drop.sale.hold_seconds)} to pay. Nobody can take it from you meanwhile.`),
      until && h("p", {}, "Your turn lasts ", left, "."),
      refusalOf(drop),
      drop.connected
        ? action(drop, "reserve", gone ? "Not available" : `Reserve for ${money(total)}`, gone)
        : h("p", {}, h("strong", {}, "Buying happens in the shop. "), "This gateway only shows the drop."),
    ],
    timer: until && { instant: until, onTick: (remaining) => { left.textContent = inWords(remaining); } },
  };
}

function held(drop) {
  const { reservation } = drop;
  const holdMs = 1000 * drop.sale.hold_seconds;
  const digits = document.createTextNode("");
  const rest = svg("rect", { width: "100%", height: 8, rx: 4 });
  const bar = svg("svg", { class: "bar", "aria-hidden": "true" }, rest);
  return {
    title: "Held for you", tone: "go",
    parts: [
      h("p.timer", { role: "timer", "aria-label": `held until ${timeOfDay(reservation.expires_at)}` },
        digits, h("small", {}, `${linesOf(drop)} held for you until ${timeOfDay(reservation.expires_at)}`)),
      bar,
      refusalOf(drop),
      h("div.actions", {},
        action(drop, "pay", `Pay ${money(reservation.total)}`),
        action(drop, "cancel", "Give it back", false, "quiet")),
    ],
    timer: {
      instant: reservation.expires_at,
      onTick: (remaining) => {
        digits.data = clock(remaining);
        rest.setAttribute("width", `${Math.min(100, (100 * remaining) / holdMs).toFixed(1)}%`);
        bar.toggleAttribute("data-short", remaining < SHORT_MS);
      },
    },
  };
}

function ordered(drop) {
  const { reservation, order } = drop;
  return {
    title: "It is yours", tone: "go",
    parts: [
      h("p", {}, "Paid and written into the books. There is nothing more to do."),
      h("dl.receipt", {},
        row("Bought", linesOf(drop)),
        row("Total", money(reservation.total)),
        row("Order", h("span.number", {}, reservation.order_id))),
      h("h3.visually-hidden", {}, "History of the order"),
      h("ol.history", {}, ...(order?.events ?? []).map((event) =>
        h("li", {}, EVENTS[event.status] ?? event.status,
          h("time", { datetime: event.occurred_at }, timeOfDay(event.occurred_at))))),
    ],
  };
}

function row(term, detail) {
  return h("div", {}, h("dt", {}, term), h("dd", {}, detail));
}

function linesOf(drop) {
  const names = new Map(drop.sale.items.map((item) => [item.sku, item.name]));
  return drop.reservation.lines.map((line) => `${line.quantity} × ${names.get(line.sku) ?? line.sku}`).join(", ");
}

/** Why the last attempt failed, when the stage itself does not say it. */
function refusalOf(drop) {
  const code = drop.refusal?.code;
  if (!drop.refusal || drop.refusal.passes) return null;
  const texts = {
    sold_out: "That one just went. If there is another choice, it may still be there.",
    sale_not_open: "Not open for orders at this moment.",
    not_admitted: "Your turn has passed. Join the queue again.",
  };
  return h("p", { role: "alert" }, h("strong", {}, texts[code] ?? `That did not work (${code ?? "unknown"}): ${drop.refusal.message}`));
}

function action(drop, word, text, disabled = false, kind = "") {
  const made = button(word, text, () => drop[word]());
  if (kind) made.classList.add(kind);
  made.disabled = disabled || drop.busy !== null;
  made.setAttribute("aria-busy", String(drop.busy === word));
  return made;
}

function button(word, text, onclick) {
  return h("button.button", { type: "button", "data-action": word, onclick }, text);
}
