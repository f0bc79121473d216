// The books: pay and trade laid side by side, and mended on demand.

import { $, stream } from "./api.js";
import { count, line, notice, rows, text } from "./widgets.js";

function show(found, done) {
  const words = done
    ? text.compared(count(found.payOrders), count(found.differences), count(found.repaired))
    : text.comparing(count(found.payOrders), count(found.differences));
  $("compared").textContent = words;
  const made = found.rows.map((one) => line(one.order, one.kind.replaceAll("_", " "), one.pay || text.nothing, one.trade || text.nothing));
  rows("differences", made, text.noDifference, 4);
}

async function compare(repair) {
  const buttons = [$("compare"), $("repair")];
  for (const button of buttons) button.disabled = true;
  $("compared").textContent = text.comparing(0, 0);
  try {
    for await (const [name, found] of stream("POST", "/ops/reconcile", { repair })) show(found, name === "done");
    notice();
  } catch (error) {
    notice(error);
  }
  for (const button of buttons) button.disabled = false;
}

/** Let both be compared. */
export function openBooks() {
  $("compare").addEventListener("click", () => compare(false));
  $("repair").addEventListener("click", () => compare(true));
  rows("differences", [], "", 4);
}
