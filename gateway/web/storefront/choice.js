/** The choice of item and quantity: radio buttons that stay in place while availability changes. */

import { h, setText } from "/web/shared/dom.js";
import { money } from "/web/shared/format.js";

const QUANTITY_MOST = 6;
const WORDS = { plenty: "Available", low: "Few left", none: "Gone", unknown: "…" };

/** The sale's title, and the names of its options; variants of one thing share a common title. */
export function namesOf(sale) {
  const parts = sale.items.map((item) => item.name.split(", "));
  const common = parts[0][0];
  if (sale.items.length > 1 && parts.every((part) => part.length > 1 && part[0] === common)) {
    return { title: common, options: parts.map((part) => capital(part.slice(1).join(", "))) };
  }
  const title = sale.items.length === 1 ? sale.items[0].name : fromId(sale.sale_id);
  return { title, options: sale.items.map((item) => item.name) };
}

/** summer-drop → Summer drop */
export function fromId(id) {
  return capital(id.replace(/[-_]+/g, " "));
}

function capital(words) {
  return words.charAt(0).toUpperCase() + words.slice(1);
}

export class Choice {
  #form;
  #drawn = "";

  /** @param {HTMLFormElement} form */
  constructor(form) {
    this.#form = form;
  }

  /** Show the drop's items; the form is hidden when there is nothing to choose. */
  draw(drop, visible) {
    const { sale } = drop;
    const names = namesOf(sale);
    const most = Math.min(QUANTITY_MOST, Math.max(...sale.items.map((item) => item.per_buyer_limit)));
    const shape = JSON.stringify([sale.items.map((item) => [item.sku, item.name]), most]);
    if (shape !== this.#drawn) {
      this.#build(drop, names, most);
      this.#drawn = shape;
    }
    this.#form.hidden = !visible || (sale.items.length === 1 && most === 1);
    const selected = sale.items.find((item) => item.sku === drop.selected.sku);
    for (const item of sale.items) this.#update(item, drop, sale);
    for (const input of this.#form.querySelectorAll("input[name=quantity]")) {
      input.disabled = Number(input.value) > selected.per_buyer_limit;
      input.checked = Number(input.value) === drop.selected.quantity;
    }
  }

  #build(drop, names, most) {
    const { items } = drop.sale;
    const samePrice = items.every((item) => item.price.amount === items[0].price.amount);
    const item = (each, index) => option("sku", each.sku, names.options[index], () => {
      const quantity = Math.min(drop.selected.quantity, each.per_buyer_limit);
      drop.select(each.sku, quantity);
    }, samePrice ? null : money(each.price));
    const quantities = Array.from({ length: most }, (_, index) => index + 1);
    this.#form.replaceChildren(
      h("fieldset", { hidden: items.length === 1 }, h("legend", {}, "Choose"),
        h("div.options", {}, ...items.map(item))),
      h("fieldset", { hidden: most === 1 }, h("legend", {}, "How many"),
        h("div.options", {}, ...quantities.map((number) =>
          option("quantity", number, String(number), () => drop.select(drop.selected.sku, number))))),
    );
  }

  #update(item, drop, sale) {
    const input = this.#form.querySelector(`input[name=sku][value="${CSS.escape(item.sku)}"]`);
    const before = sale.state === "scheduled" || sale.state === "draft";
    const note = input.parentElement.querySelector("[data-note]");
    setText(note, item.paused ? "Paused" : before ? "" : WORDS[item.availability]);
    note.toggleAttribute("data-low", item.availability === "low" && !before);
    note.hidden = note.textContent === "";
    input.disabled = item.availability === "none" || item.paused;
    input.checked = item.sku === drop.selected.sku;
  }
}

function option(name, value, text, onchange, price = null) {
  const id = `${name}-${value}`;
  return h("div.option", {},
    h("input", { type: "radio", name, value, id, onchange }),
    h("label", { for: id }, h("span", {}, text), price && h("small", {}, price),
      name === "sku" && h("small", { "data-note": true })));
}
