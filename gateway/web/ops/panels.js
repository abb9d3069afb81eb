/**
 * The panels below the charts, one shown at a time. A panel has `show(view)`, which returns its
 * elements and may return `live(figures)`, to be called with every new reading.
 */

import { h } from "/web/shared/dom.js";
import { count, dayAndTime, money, timeOfDay } from "/web/shared/format.js";

import { Comparing, goesOn } from "./comparing.js";
import { saleUrl } from "./desk.js";
import { adjusting, typed } from "./dialogs.js";
import { folded, inline, small, table } from "./table.js";

/** Who asks for periodic comparisons; they are short, and nobody here waits for them. */
const PERIODIC = "reconciler";
const NUMBER = (text) => ({ text, number: true });

export const PANELS = [
  { id: "items", title: "Items", show: items },
  { id: "reconciliations", title: "Reconciliation", show: reconciliations },
  { id: "letters", title: "Dead letters", show: letters },
  { id: "buyers", title: "Buyers", show: buyers },
  { id: "audit", title: "Audit log", show: audit },
];

async function items({ desk, saleId, act }) {
  const place = h("div");
  let drawn = "";
  const live = ({ items: now, state }) => {
    const seen = JSON.stringify([now, state]);
    // While the focus is in the panel, it is not redrawn, so that the focus is not lost.
    if (seen === drawn || (place.contains(document.activeElement) && drawn !== "")) return;
    drawn = seen;
    const row = (item) => [
      item.name, item.sku, count(item.available), count(item.held), count(item.sold),
      h("div.row", {},
        small("Adjust", () => act(() => adjusting(desk, saleId, item), `Adjusted ${item.sku}.`), `Adjust ${item.name}`),
        state === "open" && small(item.paused ? "Resume" : "Pause", () => act(
          () => desk.post(saleUrl(saleId, `/items/${encodeURIComponent(item.sku)}/${item.paused ? "resume" : "pause"}`)),
          `${item.paused ? "Resumed" : "Paused"} ${item.sku}.`), `${item.paused ? "Resume" : "Pause"} ${item.name}`)),
    ];
    place.replaceChildren(table("Items of the sale",
      ["Item", "SKU", NUMBER("Available"), NUMBER("Held"), NUMBER("Sold"), "Do"],
      (now ?? []).map(row), "The counters cannot be read now, or the sale has not been opened yet."));
  };
  return { parts: [place], live };
}

async function reconciliations({ desk, saleId, act, again }) {
  const { reconciliations: runs } = await desk.get(saleUrl(saleId, "/reconciliations"));
  const comparing = new Comparing(desk, saleId);
  const ended = (done) => {
    if (done === null) return false; // looked away: the list will have it
    again();
    return done;
  };
  const compare = (apply) => act(async () => {
    if (apply && !(await typed({
      title: "Compare and repair", word: saleId, action: "Repair",
      text: "Each difference is repaired in Redis from the ledger, and written to the audit log.",
    }))) return false;
    return ended(await comparing.ask(apply));
  }, (done) => (done.balanced ? "Redis and the ledger agree." : `${done.differences.length} differences.`));
  const verdict = (run) => {
    if (run.balanced === null) return h("span", {}, run.failure ?? run.status);
    return run.balanced ? h("span.good", {}, "balanced") : h("span.bad", {}, `${run.differences.length} differences`);
  };
  const underWay = runs.find((run) => goesOn(run) && run.requested_by !== PERIODIC);
  if (underWay) act(async () => ended(await comparing.follow(underWay)));
  const differences = runs.find((run) => run.differences.length > 0);
  return {
    parts: [
      h("div.row", {},
        h("button.button.small", { type: "button", onclick: () => compare(false) }, "Compare now"),
        h("button.button.small.danger", { type: "button", onclick: () => compare(true) }, "Compare and repair …")),
      comparing.place,
      table("The latest comparisons", ["Number", "Verdict", "At", "Asked by"], runs.map((run) =>
        [run.reconciliation_id, verdict(run), dayAndTime(run.requested_at), run.requested_by]),
      "Nothing was compared yet. The reconciler does it by itself while the sale is open."),
      differences && h("h3", {}, `Differences of number ${differences.reconciliation_id}`),
      differences && table("Differences", ["Kind", "Where", "Redis", "Ledger", "Reservation", "Repaired"],
        differences.differences.map((each) => [
          each.kind, [each.sku, each.location, each.field].filter(Boolean).join(" · ") || "–",
          each.redis_value ?? "–", each.ledger_value ?? "–", each.reservation_id ?? "–", each.repaired ? "yes" : "no",
        ]), ""),
    ],
  };
}

async function letters({ desk, act, again }) {
  return paged(async (cursor) => {
    const page = await desk.get(`/v1/dead-letters${cursor ? `?cursor=${cursor}` : ""}`);
    return { rows: page.dead_letters, next: page.next_cursor };
  }, (rows) => table("Dead letters of all sales", ["Number", "Sale", "Status", "Reason", "Detail", "Do"],
    rows.map((each) => [
      each.dead_letter_id, each.sale_id ?? "–", each.status, each.reason, each.error,
      each.status === "dead" ? small("Replay", () => act(async () => {
        await desk.post(`/v1/dead-letters/${each.dead_letter_id}/replay`);
        again();
      }, `Replayed ${each.dead_letter_id}.`), `Replay ${each.dead_letter_id}`) : "–",
    ]), "No event was set aside. That is how it should be."));
}

async function buyers({ desk, saleId, act }) {
  const input = h("input", { id: "buyer", name: "buyer", required: true, maxlength: 128, autocomplete: "off" });
  const found = h("div", { role: "status" });
  const form = h("form.row", {}, h("div.field", {}, h("label", { for: "buyer" }, "Buyer's id"), input),
    h("button.button", { type: "submit" }, "Search"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    act(async () => {
      const { orders } = await desk.get(`/v1/orders?buyer_id=${encodeURIComponent(input.value)}`);
      const here = orders.filter((order) => order.sale_id === saleId);
      const elsewhere = orders.length - here.length;
      found.replaceChildren(
        table("Holds and orders of the buyer", ["Order", "State", "Lines", "Total", "Held until", "Detail"], here.map((order) => [
          order.order_id, order.status, order.lines.map((line) => `${line.quantity} × ${line.sku}`).join(", "),
          money(order.total), timeOfDay(order.expires_at),
          order.events.map((each) => `${each.status} ${timeOfDay(each.occurred_at)}`).join(" → "),
        ]), "The ledger has no reservation of this buyer in this sale."),
        elsewhere > 0 ? h("p", {}, `${elsewhere} more in other sales.`) : "");
    });
  });
  return { parts: [form, found] };
}

async function audit({ desk, saleId }) {
  return paged(async (cursor) => {
    const more = cursor ? `&cursor=${cursor}` : "";
    const page = await desk.get(`/v1/audit-log?sale_id=${encodeURIComponent(saleId)}${more}`);
    return { rows: page.entries, next: page.next_cursor };
  }, (rows) => table("Audit log of the sale", ["At", "Who", "What", "Detail", "Request"], rows.map((each) =>
    [dayAndTime(each.occurred_at), each.actor, each.action.replaceAll("_", " "), folded(inline(each.detail)), each.request_id ?? "–"]),
  "Nobody has done anything to this sale."));
}

/** A paged list, with a button that appends the next page. */
async function paged(read, draw) {
  const place = h("div");
  const more = h("button.link", { type: "button" }, "Older entries");
  let rows = [];
  let next = null;
  const bring = async () => {
    const page = await read(next);
    rows = [...rows, ...page.rows];
    next = page.next;
    more.hidden = next === null;
    place.replaceChildren(draw(rows));
  };
  more.addEventListener("click", bring);
  await bring();
  return { parts: [place, more] };
}
