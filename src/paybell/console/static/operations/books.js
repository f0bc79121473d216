// The books: pay and trade laid side by side, repaired on demand, and what may differ acknowledged.

import { pause } from "../shared/api.js";
import { ask } from "./ask.js";
import { h, table } from "./dom.js";
import { amount, count, problem } from "./figures.js";
import { live, onLive } from "./live.js";
import { paymentAddress } from "./router.js";
import { may, send, stream } from "./session.js";
import { text } from "./text.js";
import { moment } from "./times.js";

const SHOWN = 200;
// Rows of which the page reads whether they are repaired by now; the figure above counts all.
const LOOKED_AT = 25;
const LOOKS = 8;
const NONE = { payOrders: 0, differences: 0, told: 0, repaired: 0, acknowledged: 0, rows: [] };

const sum = (before, found) => ({
  ...Object.fromEntries(
    Object.keys(NONE)
      .filter((name) => name !== "rows")
      .map((name) => [name, before[name] + found[name]]),
  ),
  rows: [...before.rows, ...found.rows].slice(0, SHOWN),
});

/** Go through the books, handing each step to `seen`; a run that takes long goes on where it ended. */
async function run(repair, seen, before = NONE, after = undefined) {
  let name;
  let found;
  let all = before;
  for await ([name, found] of stream("POST", "/ops/reconcile", { repair, after })) {
    all = sum(before, found);
    seen(all);
  }
  if (name === "continue") return run(repair, seen, all, found.next);
  if (name !== "done") throw new Error(text.cutShort);
  return all;
}

function summary(found, done) {
  const figures = [
    ["compared", found.payOrders],
    ["differ", found.differences],
    ["republished", found.told],
    ["repaired", found.repaired],
    ["acknowledged", found.acknowledged],
  ];
  return [
    h(
      "ul",
      { className: "tiles" },
      figures.map(([name, value]) =>
        h(
          "li",
          { className: name === "differ" && value > found.repaired ? "bad" : "" },
          h("span", {}, text.compared[name]),
          h("b", { className: "number" }, count(value)),
        ),
      ),
    ),
    h("p", { className: "quiet" }, done ? [text.comparedAt, " ", moment(new Date().toISOString())] : text.comparing),
  ];
}

/** What one side says: its status, what is left of the money, and whose it is. */
function side(words, statuses) {
  const match = /^(\S+) (-?[0-9]+) ([A-Z]{3}) (.*)$/.exec(words);
  if (!match) return words || text.nothing;
  const [, status, minor, currency, owner] = match;
  return `${statuses[status] ?? status} · ${amount(Number(minor), currency)} · ${owner}`;
}

// Those of which the order's own status shows that they are repaired.
const VISIBLE = ["payment_not_heard", "close_not_heard"];

/** One difference, as it stood when it was read; `state` says what became of it, once its own row says so. */
function line(one, repaired, acknowledged) {
  const state = h("td", {}, repaired ? h("span", { className: "mark" }, text.beingRepaired) : "");
  const button =
    may("repair") &&
    h("button", { type: "button", onclick: () => acknowledge(one.order, acknowledged) }, text.acknowledge);
  const row = h(
    "tr",
    {},
    h("td", {}, h("a", { href: paymentAddress(one.order), className: "number" }, one.order)),
    h("td", {}, text.kindsOfDifference[one.kind] ?? one.kind.replaceAll("_", " ")),
    h("td", {}, side(one.pay, text.payStatuses)),
    h("td", {}, side(one.trade, text.orderStatuses)),
    state,
    h("td", {}, button),
  );
  return { ...one, row, state };
}

/** Let a difference stand, and say why. */
async function acknowledge(order, done) {
  const answer = await ask({
    title: text.acknowledgeTitle(order),
    lines: [text.acknowledgeText],
    fields: [{ name: "note", label: text.why, required: true, maxLength: 500 }],
    check: ({ note }) => (note.trim() ? "" : text.whyMissing),
    confirm: text.acknowledgeConfirm(order),
    work: ({ note }) => send("POST", "/ops/differences/acknowledge", { orders: order, note: note.trim() }),
  });
  if (answer) done(order, answer.orders.includes(order));
}

/** Read those rows again until their orders have moved, and mark those that have. */
async function followRepairs(lines, still) {
  let left = lines.filter((one) => VISIBLE.includes(one.kind)).slice(0, LOOKED_AT);
  for (let look = 0; look < LOOKS && left.length && still(); look += 1) {
    const stands = await Promise.all(left.map((one) => send("GET", `/ops/payments/${one.order}`)));
    left = left.filter((one, index) => {
      const now = stands[index].orderStatus;
      if (one.trade.startsWith(`${now} `)) return true;
      one.state.replaceChildren(h("span", { className: "mark good" }, text.repairedTo(text.orderStatuses[now] ?? now)));
      return false;
    });
    if (left.length) await pause(500);
  }
  for (const one of left) one.state.replaceChildren(h("span", { className: "mark bad" }, text.notRepaired));
}

/** Open the page. */
export function openBooks() {
  const result = h("div", { className: "stack", role: "status", id: "compared" });
  const shown = h("div", { className: "stack", id: "differences" });
  const compareButton = h("button", { type: "button", onclick: () => compare(false) }, text.compare);
  const repairButton =
    may("repair") && h("button", { type: "button", className: "main", onclick: askRepair }, text.repair);
  const last = h("p", { className: "quiet" });
  let open = true;
  let lines = [];

  function draw() {
    const columns = [text.order, text.difference, text.paySays, text.tradeSays, text.state, text.look];
    shown.replaceChildren(
      table(
        columns.map((name) => [name]),
        lines.map((one) => one.row),
        text.noDifference,
        text.bookTable,
      ),
    );
  }

  function acknowledged(order, found) {
    if (!found) {
      result.append(problem(new Error(text.differsNoMore(order))));
      return;
    }
    lines = lines.filter((one) => one.order !== order);
    draw();
    result.append(h("p", { className: "good" }, text.acknowledged(order)));
  }

  async function compare(repair) {
    for (const button of [compareButton, repairButton]) if (button) button.disabled = true;
    result.replaceChildren(h("p", { className: "quiet" }, text.comparing));
    shown.replaceChildren();
    last.hidden = true;
    lines = [];
    try {
      const found = await run(repair, (step) => result.replaceChildren(...summary(step, false)));
      result.replaceChildren(...summary(found, true));
      lines = found.rows.map((one) => line(one, repair && one.kind.endsWith("_not_heard"), acknowledged));
      draw();
      if (repair) await followRepairs(lines, () => open);
    } catch (error) {
      // Figures of half a run would say that all is well.
      result.replaceChildren(problem(error, () => compare(repair)));
    }
    for (const button of [compareButton, repairButton]) if (button) button.disabled = false;
    return lines.length;
  }

  async function askRepair() {
    const answer = await ask({
      title: text.repairTitle,
      lines: [text.repairText],
      confirm: text.repairConfirm,
      work: async () => true,
    });
    if (answer) await compare(true);
  }

  function showLast() {
    const found = live.newest?.differences;
    last.textContent = found === null || found === undefined ? text.neverCompared : text.lastCompared(count(found));
  }

  const end = onLive(showLast);
  return {
    element: h("div", { className: "stack" }, h("p", { className: "quiet" }, text.booksText), last, result, shown),
    tools: [compareButton, repairButton].filter(Boolean),
    close: () => {
      open = false;
      end();
    },
  };
}
