/** Dialogs before an action: typed confirmation, and the stock adjustment with its preview. */

import { h, setText } from "/web/shared/dom.js";
import { count } from "/web/shared/format.js";

import { explained, saleUrl } from "./desk.js";

/** Ask for a word to be typed; resolves to whether it was typed. */
export function typed({ title, text, word, action }) {
  const input = h("input", { id: "typed", autocomplete: "off", spellcheck: "false", "aria-describedby": "typed-text" });
  const submit = h("button.button.danger", { type: "submit" }, action);
  submit.disabled = true;
  input.addEventListener("input", () => { submit.disabled = input.value !== word; });
  return asked(title, [
    h("p", { id: "typed-text" }, text),
    h("div.field", {}, h("label", { for: "typed" }, "Type ", h("code", {}, word), " to go on"), input),
  ], submit, async () => input.value === word);
}

/** Ask for an adjustment of one item's stock; resolves to whether it was made. */
export function adjusting(desk, saleId, item) {
  const delta = h("input", { id: "delta", type: "number", step: 1, required: true, inputmode: "numeric" });
  const reason = h("input", { id: "reason", required: true, maxlength: 255, autocomplete: "off" });
  const location = h("input", { id: "location", maxlength: 64, autocomplete: "off" });
  const preview = h("p.preview", { role: "status" }, "Say how many units, and why.");
  const submit = h("button.button", { type: "submit" }, "Adjust");
  submit.disabled = true;
  const body = () => ({
    sku: item.sku, delta: Number(delta.value), reason: reason.value.trim(),
    ...(location.value.trim() && { location: location.value.trim() }),
  });
  // One key for each adjustment that is typed: to submit it again after a lost answer repeats it.
  let key = crypto.randomUUID();
  let latest = 0;
  const look = async () => {
    submit.disabled = true;
    key = crypto.randomUUID();
    const mine = (latest += 1);
    if (!Number.isInteger(Number(delta.value)) || Number(delta.value) === 0) return;
    const wanted = { ...body(), reason: reason.value.trim() || "preview" };
    const [text, fits] = await desk.post(saleUrl(saleId, "/stock-adjustments/preview"), wanted).then(
      (told) => told.refusal === null
        ? [`Available ${count(told.available)} → ${count(told.available_after)}; ${count(told.held)} held, ${count(told.sold)} sold there.`, true]
        : [`Would be refused: ${told.refusal}. Available ${count(told.available)}, floor ${count(told.floor)}, ${count(told.held)} held.`, false],
      (error) => [explained(error), false]);
    if (mine !== latest) return;
    setText(preview, text);
    submit.disabled = !fits || reason.value.trim() === "";
  };
  for (const input of [delta, reason, location]) input.addEventListener("input", look);
  return asked(`Adjust ${item.name}`, [
    h("div.field", {}, h("label", { for: "delta" }, "Units to add (take out: negative)"), delta),
    h("div.field", {}, h("label", { for: "reason" }, "Reason, for the audit log"), reason),
    h("div.field", {}, h("label", { for: "location" }, "Location, where there are several"), location),
    preview,
  ], submit, async () => {
    try {
      await desk.postOnce(saleUrl(saleId, "/stock-adjustments"), body(), key);
      return true;
    } catch (error) {
      setText(preview, explained(error));
      return null;
    }
  });
}

/** A modal dialog; `done` returns the result, or null to stay open. Resolves to false if cancelled.
*/
function asked(title, parts, submit, done) {
  return new Promise((resolve) => {
    const close = (result) => {
      dialog.close();
      dialog.remove();
      resolve(result);
    };
    const cancel = h("button.button.quiet", { type: "button", onclick: () => close(false) }, "Leave it");
    const form = h("form", { method: "dialog" }, h("h2", { id: "dialog-title" }, title), ...parts,
      h("div.buttons", {}, cancel, submit));
    const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      submit.disabled = true;
      const result = await done();
      if (result === null) submit.disabled = false;
      else close(result);
    });
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      close(false);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
