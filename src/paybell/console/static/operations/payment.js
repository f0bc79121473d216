// One payment: where it stands, its way, its money and messages, and what can be done about it now.

import { actionsTable } from "./audit.js";
import { h, icon, table } from "./dom.js";
import { amount, count, lastSaid } from "./figures.js";
import { loader } from "./loading.js";
import { actionButtons } from "./payment-actions.js";
import { address, attemptAddress, paymentAddress } from "./router.js";
import { send } from "./session.js";
import { text } from "./text.js";
import { way } from "./timeline.js";
import { moment } from "./times.js";

/** An id that can be copied, and leads to its page where it has one. */
export function identity(id, to = "") {
  const button = h(
    "button",
    { type: "button", className: "copy", "aria-label": text.copy(id), title: text.copy(id) },
    icon("copy"),
  );
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(id);
    button.replaceChildren(icon("done"));
    button.title = text.copied;
    setTimeout(() => {
      button.replaceChildren(icon("copy"));
      button.title = text.copy(id);
    }, 1500);
  });
  // Without a secure context there is no clipboard.
  if (!navigator.clipboard) button.hidden = true;
  const shown = to ? h("a", { href: to }, id) : h("span", {}, id);
  return h("span", { className: "identity number" }, shown, button);
}

/** A status in words, coloured by whether anything is to be done. */
export const badge = (status, words = text.payStatuses) =>
  h(
    "span",
    {
      className: `mark ${{ TRADE_SUCCESS: "good", PAID: "good", SUCCEEDED: "good", FAILED: "bad", MANUAL: "bad" }[status] ?? ""}`,
      title: status,
    },
    words[status] ?? status,
  );

function facts(found) {
  const left = found.possible.refundableAmount;
  const order = found.orderStatus
    ? badge(found.orderStatus, text.orderMarks)
    : h("span", { className: "mark" }, text.noOrder);
  const pairs = [
    [text.status, [badge(found.payStatus), " ", order]],
    [text.payOrder, identity(found.payOrderId)],
    [text.order, identity(found.bizOrderNo)],
    [text.payer, identity(found.payerId, address("payments", { payerId: found.payerId }))],
    [text.merchant, identity(found.merchantId, address("payments", { merchantId: found.merchantId }))],
    found.refundedAmount && [
      text.refundedOf,
      `${amount(found.refundedAmount, found.currency)} · ${text.left(amount(left, found.currency))}`,
    ],
  ];
  return h(
    "dl",
    { className: "facts" },
    pairs.filter(Boolean).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
  );
}

function transfers(found) {
  const columns = [[text.transfer], [text.kind], [text.amount, "right"], [text.from], [text.to], [text.when]];
  const rows = found.transfers.map((one) => [
    identity(one.id, paymentAddress(one.id)),
    text.kinds[one.kind] ?? one.kind,
    amount(one.amount, one.currency),
    one.debit,
    one.credit,
    moment(one.createdAt),
  ]);
  return [h("h2", {}, text.transfers), table(columns, rows, text.noTransfers, text.transfers)];
}

function refunds(found) {
  if (!found.refunds.length) return [];
  const columns = [[text.refund], [text.amount, "right"], [text.state], [text.why, "wide"], [text.when]];
  const rows = found.refunds.map((one) => [
    identity(one.id, paymentAddress(one.id)),
    amount(one.amount, found.currency),
    badge(one.status, text.refundStatuses),
    one.reason || "–",
    moment(one.createdAt),
  ]);
  return [h("h2", {}, text.refunds), table(columns, rows, "", text.refunds)];
}

function attempts(found) {
  if (!found.attempts.length) return [];
  const columns = [[text.attempt], [text.channel], [text.state], [text.since], [text.channelSaid, "wide"]];
  const rows = found.attempts.map((one) => [
    identity(one.id, attemptAddress(one.id)),
    one.channel,
    badge(one.state, text.attemptStates),
    moment(one.changedAt),
    lastSaid(one),
  ]);
  return [h("h2", {}, text.pages.attempts), table(columns, rows, "", text.pages.attempts)];
}

function message(one) {
  const dead = one.failureId && ["dead", "retry", "acknowledged"].includes(one.state);
  const state = dead
    ? h(
        "a",
        { href: address("dead-letters", { state: one.state, open: one.failureId }) },
        text.messageStates[one.state],
      )
    : text.messageStates[one.state];
  return [
    h(
      "div",
      {},
      identity(one.eventId),
      one.body && h("details", {}, h("summary", {}, text.body), h("pre", {}, one.body)),
    ),
    one.listener || "–",
    [
      h("span", { className: `mark ${{ applied: "good", dead: "bad" }[one.state] ?? ""}` }, state),
      one.reason && ` ${one.reason}`,
    ],
    one.attempts ? count(one.attempts) : "",
    one.appliedAt || one.receivedAt ? moment(one.appliedAt ?? one.receivedAt) : "–",
  ];
}

function messages(found) {
  const columns = [[text.event], [text.listener], [text.state], [text.attempts, "right"], [text.appliedAt]];
  return [h("h2", {}, text.messages), table(columns, found.messages.map(message), text.noMessages, text.messages)];
}

/** Open the page of the payment with any of its ids. */
export function openPayment({ id }) {
  const heading = h("span", {}, text.onePayment);
  const shown = h("div", { className: "stack" }, h("p", { className: "skeleton tall" }));
  const tools = h("div", { className: "inline" });

  async function read() {
    const found = await send("GET", `/ops/payments/${encodeURIComponent(id)}`);
    const named = [found.payOrderId, found.bizOrderNo, ...found.attempts.map((one) => one.id)];
    return [found, await actionsTable(named.map((one) => ["on", one]))];
  }

  const load = loader(shown, read, ([found, actions]) => {
    heading.replaceChildren(h("span", { className: "number" }, amount(found.amount, found.currency)));
    tools.replaceChildren(...actionButtons(found, load));
    shown.replaceChildren(
      facts(found),
      h("h2", {}, text.itsWay),
      way(found.steps),
      ...attempts(found),
      ...refunds(found),
      ...transfers(found),
      ...messages(found),
      h("h2", {}, text.actions),
      actions,
    );
  });

  const back = h("p", {}, h("a", { href: address("payments") }, `← ${text.pages.payments}`));
  return {
    element: h("div", { className: "stack" }, back, shown),
    title: heading,
    name: `${text.onePayment} ${id}`,
    tools: [tools, h("button", { type: "button", onclick: load }, text.reload)],
    ready: load(),
    update: load,
  };
}
