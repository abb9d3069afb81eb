/**
 * The demonstration's stand-in for the shop: makes visitors, and "pays" without money. In a real
 * shop the shop's own server makes the token, takes the money and confirms.
 */

import { ServerClock } from "/client/v1/clock.js";
import { Http, insist } from "/client/v1/http.js";

const KEPT = "dropgate:demo-visitor";

export class NoShop extends Error {}

export class DemoShop {
  #visitor = kept();
  #http = new Http("", (rejected) => this.token(rejected), new ServerClock());

  /** The visitor's token; makes a new visitor without one, or after the token was refused. */
  async token(rejected) {
    if (!usable(this.#visitor, rejected)) {
      // Tabs that open at once must share one visitor.
      await navigator.locks.request(KEPT, async () => {
        const others = kept();
        this.#keep(usable(others, rejected) ? others : await this.#begun());
      });
    }
    return this.#visitor.token;
  }

  /** The sale that the demonstration shows when the address names none; null without a sale. */
  async saleToShow() {
    return (await this.#begun()).sale_id;
  }

  #keep(visitor) {
    this.#visitor = visitor;
    try {
      localStorage.setItem(KEPT, JSON.stringify(visitor));
    } catch {
      // Without storage the visitor lasts as long as the page.
    }
  }

  /** "Pay" for a hold. A repeated call is safe, so a call without an answer is repeated. */
  async pay(reservationId, options = {}) {
    const body = { reservation_id: reservationId };
    return (await insist(() => this.#http.json("POST", "/demo/payments", { body }), options)).body;
  }

  /** A new visitor, and the sale to show. */
  async #begun() {
    try {
      return (await this.#http.json("POST", "/demo/session", { anonymous: true })).body;
    } catch (error) {
      if (error.status === 404) throw new NoShop("this gateway runs no demonstration");
      throw error;
    }
  }
}

function usable(visitor, rejected) {
  return visitor !== null && visitor.token !== rejected && Date.parse(visitor.expires_at) > Date.now();
}

function kept() {
  try {
    return JSON.parse(localStorage.getItem(KEPT));
  } catch {
    return null;
  }
}
