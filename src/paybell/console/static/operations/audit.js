// Audit: what people did by hand, newest first. Nobody can change these rows.

import { csvButton } from "./csv.js";
import { h, table } from "./dom.js";
import { count } from "./figures.js";
import { loader } from "./loading.js";
import { address } from "./router.js";
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

/** Make the table of what was done last; `asked`: pairs of a name and a value, as `/ops/actions` takes them. */
export async function actionsTable(asked) {
  const { actions } = await send("GET", `/ops/actions?${new URLSearchParams(asked)}`);
  return table(COLUMNS(), actions.map(line), text.noActions, text.pages.audit);
}

/** Open the page; `query`: after which action. */
export function openAudit({ query: first }) {
  let query = first;
  const shown = h("div", { className: "stack", id: "actions" }, h("p", { className: "skeleton" }));
  const said = h("div", { role: "status" });

  const read = () => send("GET", `/ops/actions${query.after ? `?${new URLSearchParams({ after: query.after })}` : ""}`);

  const load = loader(shown, read, (page) => {
    shown.replaceChildren(
      h("p", { className: "quiet" }, text.auditText),
      table(COLUMNS(), page.actions.map(line), text.noActions, text.pages.audit),
      h(
        "nav",
        { className: "pager", "aria-label": text.pager },
        query.after && h("a", { href: address("audit") }, text.newestPage),
        page.next && h("a", { href: address("audit", { after: page.next }) }, text.olderPage),
      ),
    );
  });

  function update(changed) {
    query = changed;
    return load();
  }

  const reload = h("button", { type: "button", onclick: () => load() }, text.reload);
  return {
    element: h("div", { className: "stack" }, said, shown),
    tools: [csvButton(() => "/ops/actions", "audit.csv", said), reload],
    ready: load(),
    update,
  };
}
