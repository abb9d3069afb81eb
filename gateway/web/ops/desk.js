/** An operator's calls, and advice for each refusal. The token is kept in this tab only. */

import { ServerClock } from "/client/v1/clock.js";
import { Http, Problem } from "/client/v1/http.js";

const KEPT = "dropgate:ops-token";
const NEXT_STEPS = {
  unauthenticated: "Sign in again with a fresh token.",
  forbidden: "This needs a token of scope ops.",
  not_found: "Somebody may have removed it; look at the list again.",
  version_mismatch: "Somebody else changed the sale. It is shown as it is now: look, then repeat.",
  invalid_state: "The state does not allow it; the detail says what is in the way.",
  floor_violation: "Take out less, or wait until held units return.",
  recovering: "Redis or the ledger is being restored. Repeat in a few seconds.",
  ledger_behind: "The ledger is catching up. Repeat in a few seconds.",
  overloaded: "The gateway is busy. Repeat in a few seconds.",
};

export class Desk extends EventTarget {
  #http = new Http("", () => sessionStorage.getItem(KEPT) ?? "", new ServerClock());

  get signedIn() {
    return sessionStorage.getItem(KEPT) !== null;
  }

  /** Keep a token if the list of sales accepts it. Throws the error of that call. */
  async signIn(token) {
    sessionStorage.setItem(KEPT, token.trim());
    try {
      await this.get("/v1/sales");
    } catch (error) {
      this.signOut();
      throw error;
    }
  }

  signOut() {
    sessionStorage.removeItem(KEPT);
    this.dispatchEvent(new Event("signed-out"));
  }

  get(path, options = {}) {
    return this.#call("GET", path, options);
  }

  post(path, body = {}, headers = {}) {
    return this.#call("POST", path, { body, headers });
  }

  /** POST with an Idempotency-Key: repeated with the same key, it takes effect once. */
  postOnce(path, body, key) {
    return this.post(path, body, { "Idempotency-Key": key });
  }

  /** Change the sale, but only at this version. */
  change(path, version) {
    return this.post(path, {}, { "If-Match": `"${version}"` });
  }

  async #call(method, path, options) {
    try {
      return (await this.#http.json(method, path, options)).body;
    } catch (error) {
      if (error.code === "unauthenticated" && this.signedIn) this.signOut();
      throw error;
    }
  }
}

/** The path of a sale, or of a resource of the sale. */
export function saleUrl(saleId, rest = "") {
  return `/v1/sales/${encodeURIComponent(saleId)}${rest}`;
}

/** An error in one line: its message, its code, and what to do next. */
export function explained(error) {
  if (!(error instanceof Problem)) {
    return `${error.message}. Check that the gateway runs and repeat.`;
  }
  const next = NEXT_STEPS[error.code] ?? "Correct what the message names.";
  return `${error.message} (${error.status} ${error.code}) ${next}`;
}
