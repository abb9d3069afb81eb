/** A comparison that goes on: asked for, shown, and followed to its end. */

import { insist, pause, Problem } from "/client/v1/http.js";
import { h, setText } from "/web/shared/dom.js";
import { count } from "/web/shared/format.js";

import { saleUrl } from "./desk.js";

const LOOK_MS = 1_000;
/** The first call waits this long for the result; then progress is shown. */
const WAIT_SECONDS = 1;
const PATH = "/reconciliations";

/** Whether a comparison has yet to end. */
export function goesOn(run) {
  return run.status === "requested" || run.status === "running";
}

/** Shows how far a comparison of a sale is, as long as `place` is on the page. */
export class Comparing {
  /** Where progress is shown; empty while nothing is followed. */
  place = h("div.comparing");
  #desk;
  #saleId;
  #turn = 0;

  constructor(desk, saleId) {
    this.#desk = desk;
    this.#saleId = saleId;
  }

  /** Ask for a comparison, or join one. Throws Problem where it failed. See `follow`. */
  async ask(apply) {
    const path = saleUrl(this.#saleId, PATH);
    return this.follow(await this.#desk.post(path, { apply }, { Prefer: `wait=${WAIT_SECONDS}` }));
  }

  /**
   * The comparison when it has ended. Null where the place left the page, or another comparison is
   * followed now: it goes on without us. Throws Problem where it failed.
   */
  async follow(run) {
    this.#turn += 1;
    const turn = this.#turn;
    while (goesOn(run)) {
      this.#draw(run);
      await pause(LOOK_MS);
      if (turn !== this.#turn || !this.place.isConnected) return null;
      run = await insist(() => this.#desk.get(saleUrl(this.#saleId, `${PATH}/${run.reconciliation_id}`)));
    }
    if (turn !== this.#turn) return null;
    this.place.replaceChildren();
    if (run.status === "failed") {
      throw new Problem(503, { code: run.failure, detail: `Comparison ${run.reconciliation_id} failed: ${run.failure}.` }, 0);
    }
    return run;
  }

  #draw({ reconciliation_id: id, status, compared, to_compare: total }) {
    let [bar, words] = this.place.children;
    if (bar?.dataset.run !== String(id)) {
      bar = h("progress", { "data-run": id, "aria-labelledby": "comparing" });
      words = h("p", { id: "comparing" });
      this.place.replaceChildren(bar, words);
    }
    if (total > 0) {
      bar.max = total;
      bar.value = compared;
    } else {
      bar.removeAttribute("value"); // how much there is to do is not known yet
    }
    const far = total > 0 ? `${count(compared)} of ${count(total)} reservations`
      : status === "requested" ? "waits for the reconciler" : "begins";
    setText(words, `Comparison ${id}: ${far}`);
  }
}
