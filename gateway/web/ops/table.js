/** Tables: a head, rows of cells, and a sentence for an empty table. */

import { h } from "/web/shared/dom.js";

const SHOWN_CHARACTERS = 120;

/**
 * @param {string} caption for screen readers
 * @param {(string | {text: string, number?: boolean})[]} heads
 * @param {(Node | string | number)[][]} rows the first cell of a row is the row's head
 * @param {string} nothing the sentence for an empty table
 */
export function table(caption, heads, rows, nothing) {
  if (rows.length === 0) return h("p", {}, nothing);
  const named = heads.map((head) => (typeof head === "string" ? { text: head } : head));
  const cell = (content, index) => h(index === 0 ? "th" : "td", {
    scope: index === 0 ? "row" : null, class: named[index].number ? "number" : named[index].text === "Detail" ? "detail" : null,
  }, content);
  return h("div.wide", { tabindex: 0, role: "region", "aria-label": caption },
    h("table", {}, h("caption.visually-hidden", {}, caption),
      h("thead", {}, h("tr", {}, ...named.map(({ text, number }) =>
        h("th", { scope: "col", class: number ? "number" : null }, text)))),
      h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map(cell))))));
}

/** An object as `name value, name value`. */
export function inline(detail) {
  return Object.entries(detail).map(([name, value]) =>
    `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ");
}

/** A text; a long text is folded up. */
export function folded(text) {
  return text.length <= SHOWN_CHARACTERS ? text
    : h("details", {}, h("summary", {}, `${text.slice(0, SHOWN_CHARACTERS)} …`), text);
}

/** A small, quiet button. */
export function small(text, onclick, label = text) {
  return h("button.button.small.quiet", { type: "button", onclick, "aria-label": label }, text);
}
