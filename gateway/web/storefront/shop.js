/**
 * The demonstration's stand-in for the shop: makes visitors, and "pays" without money. In a real
 * shop the shop's own server makes the token, takes the money and confirms.
 */

const KEPT = "dropgate:demo-visitor";

export class NoShop extends Error {}

export class DemoShop {
  #visitor = kept();

  /** The visitor's token; makes a new visitor without one, or after the token was refused. */
  async token(rejected) {
    if (!usable(this.#visitor, rejected)) {
      // Tabs that open at once must share one visitor.
      await navigator.locks.request(KEPT, async () => {
        const others = kept();
        this.#keep(usable(others, rejected) ? others : await begun());
      });
    }
    return this.#visitor.token;
  }

  /** The sale that the demonstration shows when the address names none; null without a sale. */
  async saleToShow() {
    return (await begun()).sale_id;
  }

  #keep(visitor) {
    this.#visitor = visitor;
    try {
      localStorage.setItem(KEPT, JSON.stringify(visitor));
    } catch {
      // Without storage the visitor lasts as long as the page.
    }
  }

  /** "Pay" for a hold. A repeated call is safe. */
  async pay(reservationId) {
    const response = await fetch("/demo/payments", {
      method: "POST",
      headers: { Authorization: `Bearer ${await this.token()}`, "Content-Type": "application/json" },
      body: JSON.stringify({ reservation_id: reservationId }),
      signal: AbortSignal.timeout(10_000),
    });
    const body = await response.json();
    if (!response.ok) throw Object.assign(new Error(body.detail), { code: body.code });
    return body;
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

/** A new visitor, and the sale to show. */
async function begun() {
  const response = await fetch("/demo/session", { method: "POST", signal: AbortSignal.timeout(10_000) });
  if (response.status === 404) throw new NoShop("this gateway runs no demonstration");
  if (!response.ok) throw new Error(`no visitor: ${response.status}`);
  return await response.json();
}
