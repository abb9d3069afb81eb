/** The operations page: signing in, the list of sales, and the selected sale. */

import { h, setText } from "/web/shared/dom.js";
import { dayAndTime } from "/web/shared/format.js";

import { Desk, explained } from "./desk.js";
import { SaleView } from "./sale.js";

const LIST_MS = 5000;
const part = (id) => document.getElementById(id);

class Page {
  #desk = new Desk();
  #view = new SaleView(this.#desk);
  #sales = [];
  #older = null;
  #timer = 0;

  begin() {
    this.#desk.addEventListener("signed-out", () => this.#showDoor());
    part("door").addEventListener("submit", (event) => this.#signIn(event));
    part("leave").addEventListener("click", () => this.#desk.signOut());
    part("more-sales").addEventListener("click", () => this.#more());
    addEventListener("hashchange", () => this.#select());
    if (this.#desk.signedIn) this.#enter();
    else this.#showDoor();
  }

  async #signIn(event) {
    event.preventDefault();
    try {
      await this.#desk.signIn(part("token").value);
      part("token").value = "";
      setText(part("door-wrong"), "");
      await this.#enter();
      part("sale-name").focus();
    } catch (error) {
      setText(part("door-wrong"), explained(error));
      part("token").focus();
    }
  }

  #showDoor() {
    clearTimeout(this.#timer);
    this.#view.open(null);
    part("desk").hidden = part("who").hidden = true;
    part("door").hidden = false;
    part("token").focus();
  }

  async #enter() {
    part("door").hidden = true;
    part("desk").hidden = part("who").hidden = false;
    await this.#list();
    if (this.#desk.signedIn) await this.#select();
  }

  /** Reads the newest sales again and again, since other operators make sales too. */
  async #list() {
    clearTimeout(this.#timer);
    try {
      const page = await this.#desk.get("/v1/sales");
      const fresh = new Set(page.sales.map((sale) => sale.sale_id));
      if (this.#sales.length === 0) this.#older = page.next_cursor;
      this.#sales = [...page.sales, ...this.#sales.filter((sale) => !fresh.has(sale.sale_id))];
      this.#drawList();
    } catch (error) {
      setText(part("heard"), explained(error));
    }
    if (this.#desk.signedIn) this.#timer = setTimeout(() => this.#list(), LIST_MS);
  }

  async #more() {
    const page = await this.#desk.get(`/v1/sales?cursor=${encodeURIComponent(this.#older)}`);
    this.#older = page.next_cursor;
    this.#sales.push(...page.sales);
    this.#drawList();
  }

  #drawList() {
    const current = this.#selected();
    part("nothing").hidden = this.#sales.length > 0;
    part("more-sales").hidden = this.#older === null;
    const drawn = JSON.stringify([this.#sales, current]);
    if (part("sales").dataset.drawn === drawn) return;
    part("sales").dataset.drawn = drawn;
    const focused = document.activeElement?.getAttribute("href");
    part("sales").replaceChildren(...this.#sales.map(({ sale_id: id, state, created_at: madeAt }) =>
      h("li", {}, h("a", { href: `#${id}`, "aria-current": id === current ? "page" : null },
        h("strong", {}, id), h("small", {}, `${state} · made ${dayAndTime(madeAt)}`)))));
    if (focused) part("sales").querySelector(`a[href="${focused}"]`)?.focus();
  }

  #selected() {
    const named = decodeURIComponent(location.hash.slice(1));
    return named || (this.#sales[0]?.sale_id ?? null);
  }

  async #select() {
    if (!this.#desk.signedIn) return;
    this.#drawList();
    await this.#view.open(this.#selected());
  }
}

new Page().begin();
