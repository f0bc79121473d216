// The books: pay and trade laid side by side, and repaired on demand.

import { $, send, stream } from "../shared/api.js";
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
  const made = line(
    one.order,
    one.kind.replaceAll("_", " "),
    one.pay || text.nothing,
    one.trade || text.nothing,
    button,
  );
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

/** Go through the books; a run that takes long ends with where the next one goes on. */
async function run(repair, before = nothing, after = undefined) {
  let name, found, all;
  for await ([name, found] of stream("POST", "/ops/reconcile", { repair, after })) {
    all = sum(before, found);
    show(all, name === "done");
  }
  if (name === "continue") await run(repair, all, found.next);
  else if (name !== "done") throw new Error(text.cutShort);
}

const nothing = { payOrders: 0, differences: 0, repaired: 0, acknowledged: 0, rows: [] };
const SHOWN = 200;

const sum = (before, found) => ({
  ...Object.fromEntries(
    ["payOrders", "differences", "repaired", "acknowledged"].map((name) => [name, before[name] + found[name]]),
  ),
  rows: [...before.rows, ...found.rows].slice(0, SHOWN),
});

async function compare(repair) {
  const buttons = [$("compare"), $("repair")];
  for (const button of buttons) button.disabled = true;
  $("compared").textContent = text.comparing(0, 0);
  try {
    await run(repair);
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
