/**
 * One visitor in one sale: what the page knows, and what the visitor can do. `changed` is
 * dispatched after every change; the page then draws the current `stage`.
 */

import { insist, pause, pauseAfter } from "/client/v1/http.js";

import { NoShop } from "./shop.js";

const OVER = new Set(["cancelled", "expired"]);
const LOOK_MS = { scheduled: 4000, open: 2000, paused: 3000, closed: 15_000, settled: 60_000, draft: 5000 };
const LOOK_SOON_MS = 700; // shortly before and after the opening
const SOON_MS = 10_000;
const EARLY_MS = 1500; // more than the difference between the two clocks
// The clocks may differ by a fraction of a second, so the gateway is asked until it agrees.
const LAPSE_MS = 300;
const LAPSE_TRIES = 20;
const LOOK_TROUBLED_MS = 3000;
const FOLLOW_TRIES = 100;

export class Drop extends EventTarget {
  sale = null;
  place = null; // the place in the queue
  reservation = null;
  order = null; // the order with its events
  selected = { sku: null, quantity: 1 };
  busy = null; // the action under way: join, reserve, pay or cancel
  trouble = null; // {kind: offline | recovering | busy | rate_limited, until}: shown while it lasts
  refusal = null; // the Problem that ended the last attempt
  missing = false;
  passed = false; // whether the visitor's turn ended unused
  connected = true; // whether a shop is there to buy from

  #gate;
  #shop;
  #lookTimer = 0;
  #followed = null; // the order whose history is being read
  #waiting = null;
  #others;

  /**
   * @param {import("/client/v1/dropgate.js").Dropgate} gate
   * @param {import("./shop.js").DemoShop} shop
   * @param {string} saleId
   */
  constructor(gate, shop, saleId) {
    super();
    this.#gate = gate;
    this.#shop = shop;
    this.#others = new BroadcastChannel(`dropgate:${saleId}`);
    this.#others.onmessage = ({ data }) => this.#heard(data);
  }

  get clock() {
    return this.#gate.clock;
  }

  /** The stage to draw, from everything known about sale, queue and reservation. */
  get stage() {
    if (this.missing) return "missing";
    if (this.sale === null) return "loading";
    if (this.reservation?.state === "confirmed") return "ordered";
    if (this.reservation?.state === "held") return "held"; // the gateway decides whether it lapsed
    if (this.busy === "reserve") return "reserving";
    if (this.reservation?.state === "expired") return "lapsed";
    const { state } = this.sale;
    if (state === "closed" || state === "settled") return "over";
    if (this.place?.state === "sold_out") return "sold_out";
    if (this.refusal?.code === "limit_exceeded") return "limit";
    if (state === "paused") return "paused";
    if (state === "open" && this.#isEarly()) return "before"; // opened by hand before its time
    if (state === "open" && this.#soldOut()) return "sold_out";
    if (this.place?.state === "waiting") return "waiting";
    if (state === "open") return this.sale.waiting_room && !this.place ? "door" : "buy";
    return this.#queueOpen() && !this.place ? "early_door" : "before";
  }

  /** Begin to watch the sale, and resume what this visitor had begun. */
  async start() {
    addEventListener("offline", () => this.#troubled("offline"));
    addEventListener("online", () => this.#look());
    addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.#look();
    });
    await this.#look();
    if (this.sale === null) return;
    try {
      await insist(() => this.#recall(), { onWait: this.#onWait });
    } catch (error) {
      this.connected = !(error instanceof NoShop);
    }
    if (this.connected && this.reservation === null && this.#gate.unfinished) {
      await this.reserve(this.#gate.unfinished);
    }
    if (this.connected && this.reservation === null && this.#gate.queue.joined) this.join();
    this.#tell();
  }

  select(sku, quantity = this.selected.quantity) {
    this.selected = { sku, quantity };
    if (this.refusal?.code === "sold_out") this.refusal = null;
    this.#tell();
  }

  /** Take a place in the queue and follow it. */
  async join() {
    if (this.#waiting !== null) return;
    this.#waiting = new AbortController();
    this.passed = false;
    const following = { signal: this.#waiting.signal, onWait: this.#onWait };
    await this.#doing("join", async () => {
      for await (const place of this.#gate.queue.places(following)) {
        this.place = place;
        this.busy = null;
        this.#calm();
      }
    });
    this.#waiting = null;
  }

  /** Reserve the selected units. */
  async reserve(lines = [this.#line()]) {
    await this.#doing("reserve", async () => {
      try {
        const { reservation } = await this.#gate.reserve(lines, { onWait: this.#onWait });
        await this.#reserved(reservation);
      } catch (error) {
        if (error.code === "limit_exceeded" || error.code === "sold_out") {
          const own = error.body.own_holds?.[0];
          if (own) await this.#reserved(await this.#gate.reservation(own.reservation_id));
          else if (error.code === "limit_exceeded") await this.#recall();
          if (this.reservation !== null) return;
        }
        if (error.code === "not_admitted") this.#readmit();
        throw error;
      }
    });
    this.#tellOthers();
  }

  /** Pay for the hold. */
  async pay() {
    await this.#doing("pay", async () => {
      try {
        await this.#reserved(await this.#shop.pay(this.reservation.reservation_id, { onWait: this.#onWait }));
      } catch (error) {
        if (error.code !== "hold_expired" && error.code !== "already_resolved") throw error;
        await this.#reserved(await this.#gate.reservation(this.reservation.reservation_id));
      }
    });
    this.#tellOthers();
  }

  /** Give the hold back. */
  async cancel() {
    const id = this.reservation.reservation_id;
    await this.#doing("cancel", async () => {
      await this.#gate.cancel(id, { onWait: this.#onWait });
      this.reservation = null;
      this.order = null;
    });
    this.#others.postMessage(id);
  }

  /** Return from a lapsed hold to the sale. */
  again() {
    this.reservation = null;
    this.order = null;
    this.refusal = null;
    if (this.sale.waiting_room) this.#readmit();
    this.#tell();
  }

  /** A countdown has ended: ask the gateway until it agrees. */
  async timeIsUp() {
    for (let tries = 0; tries < LAPSE_TRIES; tries += 1) {
      if (this.reservation?.state === "held" ? await this.#holdIsOver() : await this.#turnIsOver()) break;
      await pause(LAPSE_MS);
    }
    return this.#look();
  }

  /** Whether the hold is over or was extended since its countdown began. */
  async #holdIsOver() {
    const now = await this.#gate.reservation(this.reservation.reservation_id).catch(() => null);
    if (now === null) return false;
    // More time than before means that the hold was extended elsewhere.
    const over = now.state !== "held" || Date.parse(now.expires_at) > this.clock.now() + LAPSE_MS;
    if (over) await this.#reserved(now);
    return over;
  }

  /** Whether the turn in the queue is over. Joining too early would return its last moment again.
  */
  async #turnIsOver() {
    const turn = this.place?.admission_expires_at;
    if (!turn || this.reservation !== null) return true;
    const now = await this.#gate.queue.look().catch((error) => error);
    if (this.busy !== null || this.place?.admission_expires_at !== turn) return true; // used by now
    if (now.code === "not_admitted") {
      this.passed = true;
      this.#readmit();
    } else if (now instanceof Error || now.admission_expires_at === turn) {
      return false;
    } else {
      this.place = now;
    }
    this.#tell();
    return true;
  }

  #line() {
    return { sku: this.selected.sku, quantity: this.selected.quantity };
  }

  #soldOut() {
    return this.sale.items.every((item) => item.availability === "none");
  }

  #isEarly() {
    const { opens_at: opensAt } = this.sale;
    return opensAt !== null && Date.parse(opensAt) > this.clock.now() + EARLY_MS;
  }

  #queueOpen() {
    const from = this.sale.waiting_room?.prequeue_at;
    return Boolean(from) && Date.parse(from) <= this.clock.now();
  }

  /** Forget the place: the admission is spent or has ended, and a new turn needs the queue again.
  */
  #readmit() {
    this.place = null;
    this.#gate.queue.forget();
  }

  #tellOthers() {
    if (this.reservation !== null) this.#others.postMessage(this.reservation.reservation_id);
  }

  /** Another tab changed a reservation of this visitor. */
  async #heard(id) {
    const reservation = await insist(() => this.#gate.reservation(id), { onWait: this.#onWait });
    const mine = this.reservation?.reservation_id === id;
    if (OVER.has(reservation.state)) {
      if (mine) this.reservation = this.order = null;
    } else if (mine || this.reservation === null || OVER.has(this.reservation.state)) {
      await this.#reserved(reservation);
    }
    this.#tell();
  }

  /** Find what this visitor holds or has bought in this sale, in any tab. */
  async #recall() {
    const orders = await this.#gate.orders();
    const own = orders.find((order) => order.status === "PENDING") ??
      orders.find((order) => order.status === "CONFIRMED");
    if (own) await this.#reserved(await this.#gate.reservation(own.order_id));
    else if (this.reservation?.state === "held") await this.#reserved(
      await this.#gate.reservation(this.reservation.reservation_id));
    this.#tell();
  }

  async #reserved(reservation) {
    this.reservation = reservation;
    this.refusal = null;
    this.#tell();
    if (reservation.state === "confirmed") this.#follow(reservation.order_id);
  }

  /** Read the order's history until the ledger, which may be behind, has the payment. */
  async #follow(orderId) {
    if (this.#followed === orderId) return;
    this.#followed = orderId;
    for (let tries = 0; tries < FOLLOW_TRIES; tries += 1) {
      this.order = await insist(() => this.#gate.order(orderId), { onWait: this.#onWait });
      this.#tell();
      if (this.order.status === "CONFIRMED") return;
      await pause(pauseAfter({}, tries));
    }
  }

  async #doing(word, work) {
    if (this.busy !== null) return;
    this.busy = word;
    this.refusal = null;
    this.#tell();
    try {
      await work();
      this.#calm();
    } catch (error) {
      this.refusal = error;
      if (error.passes) this.#onWait(error, LOOK_TROUBLED_MS);
    } finally {
      if (this.busy === word) this.busy = null;
      this.#tell();
    }
  }

  #onWait = (error, waitMs) => {
    const kinds = { rate_limited: "rate_limited", recovering: "recovering", ledger_behind: "recovering" };
    const kind = kinds[error.code] ?? (error.code ? "busy" : "offline");
    this.#troubled(kind, performance.now() + waitMs);
  };

  #troubled(kind, until = null) {
    this.trouble = { kind, until };
    this.#tell();
  }

  #calm() {
    this.trouble = null;
    this.#tell();
  }

  async #look() {
    clearTimeout(this.#lookTimer);
    let waitMs = LOOK_TROUBLED_MS;
    try {
      this.sale = await this.#gate.sale();
      this.selected.sku ??= this.#preferred();
      const lapsed = this.trouble && (this.trouble.until ?? 0) < performance.now();
      if (lapsed && this.busy === null) this.trouble = null;
      waitMs = this.#untilNextLook();
    } catch (error) {
      this.missing = error.code === "not_found";
      if (!this.missing) this.#onWait(error, waitMs);
    }
    this.#tell();
    if (!this.missing && document.visibilityState === "visible") {
      clearTimeout(this.#lookTimer); // another look may have set it meanwhile
      this.#lookTimer = setTimeout(() => this.#look(), waitMs * (0.85 + 0.3 * Math.random()));
    }
  }

  #preferred() {
    const sellable = this.sale.items.find((item) => item.availability !== "none" && !item.paused);
    return (sellable ?? this.sale.items[0]).sku;
  }

  #untilNextLook() {
    const { state, opens_at: opensAt } = this.sale;
    const near = opensAt && Math.abs(Date.parse(opensAt) - this.clock.now()) < SOON_MS;
    return near && state === "scheduled" ? LOOK_SOON_MS : LOOK_MS[state];
  }

  #tell() {
    this.dispatchEvent(new Event("changed"));
  }
}
