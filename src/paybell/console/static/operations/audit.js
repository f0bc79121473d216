// Audit: what people did by hand, newest first. Nobody can change these rows.

import { h, table } from "./dom.js";
import { count } from "./figures.js";
import { loader } from "./loading.js";
import { send } from "./session.js";
import { text } from "./text.js";
import { moment } from "./times.js";

const COLUMNS = () => [
  [text.when],
  [text.who],
  [text.deed],
  [text.selection, "wide"],
  [text.rows, "right"],
  [text.database],
];

// Acknowledging means a difference in pay's books, and a dead letter at trade.
const deed = (one) => (one.action === "acknowledge" && one.database === "trade" ? "give up" : one.action);

const line = (one) => [
  moment(one.at),
  one.who,
  text.deeds[deed(one)] ?? one.action,
  one.selection,
  count(one.rows),
  text.parts[`${one.database}_database`] ?? one.database,
];

/** Make the table of what was done; `chosen(one)` leaves some out. */
export async function actionsTable(chosen = () => true) {
  const { actions } = await send("GET", "/ops/actions");
  return table(COLUMNS(), actions.filter(chosen).map(line), text.noActions, text.pages.audit);
}

/** Open the page. */
export function openAudit() {
  const shown = h("div", { className: "stack", id: "actions" }, h("p", { className: "skeleton" }));

  const load = loader(
    shown,
    () => actionsTable(),
    (table) => shown.replaceChildren(h("p", { className: "quiet" }, text.auditText), table),
  );

  const reload = h("button", { type: "button", onclick: load }, text.reload);
  return { element: shown, tools: [reload], ready: load(), update: load };
}
