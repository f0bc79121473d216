// The books: pay and trade laid side by side, and repaired on demand.

import { $, send, stream } from "./api.js";
import { count, el, line, notice, rows, text } from "./widgets.js";

function show(found, done) {
  const words = done
    ? text.compared(count(found.payOrders), count(found.differences), count(found.repaired), count(found.acknowledged))
    : text.comparing(count(found.payOrders), count(found.differences));
  $("compared").textContent = words;
  rows("differences", found.rows.map(row), text.noDifference, 5);
}

function row(one) {
  const button = el("button", text.acknowledge, { type: "button" });
  const made = line(one.order, one.kind.replaceAll("_", " "), one.pay || text.nothing, one.trade || text.nothing, button);
  button.addEventListener("click", () => acknowledge(one.order, made));
  return made;
}

/** Let a difference stand; it leaves the table. */
async function acknowledge(order, shown) {
  const note = prompt(text.whyAcknowledge(order))?.trim();
  if (!note) return;
  try {
    await send("POST", "/ops/differences/acknowledge", { orders: order, note });
    shown.remove();
    notice();
  } catch (error) {
    notice(error);
  }
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
  rows("differences", [], "", 5);
}
