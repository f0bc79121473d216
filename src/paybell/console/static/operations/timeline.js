// One payment: its steps with the time between them, its money and its messages.

import { $, money, send } from "../shared/api.js";
import { el, notice, seconds, text, when } from "./widgets.js";

const precise = (at) => new Date(at).toISOString().slice(11, 23);

function step(one) {
  const item = el("li");
  item.dataset.state = one.state;
  item.dataset.step = one.name;
  const at = one.at ? precise(one.at) : one.state === "waiting" ? text.waiting : text.unknownTime;
  item.append(el("b", text.steps[one.name]), el("span", at, { className: "number" }));
  if (one.sinceBeforeSeconds != null) {
    item.append(el("span", text.after(seconds(one.sinceBeforeSeconds)), { className: "number took" }));
  }
  return item;
}

function facts(found) {
  const list = el("dl", "", { className: "facts" });
  const pairs = [
    [text.statuses, `${found.payStatus} · ${found.orderStatus ?? text.noOrder}`],
    [text.order, `${found.bizOrderNo} · ${found.payOrderId}`],
    [
      text.amount,
      money(found.amount, found.currency) +
        (found.refundedAmount ? ` − ${money(found.refundedAmount, found.currency)}` : ""),
    ],
    [text.payer, found.payerId],
    [text.merchant, found.merchantId],
  ];
  for (const [name, value] of pairs) list.append(el("dt", name), el("dd", value));
  return list;
}

function list(title, items) {
  const made = el("ul", "", { className: "actions" });
  made.append(...items.map((item) => el("li", item)));
  return items.length ? [el("h3", title), made] : [];
}

const transfer = (one) =>
  [
    one.id,
    text.kinds[one.kind],
    money(one.amount, one.currency),
    `${one.debit} → ${one.credit}`,
    when(one.createdAt),
  ].join(" · ");
const message = (one) =>
  [
    one.eventId,
    one.listener,
    text.states[one.state],
    one.reason,
    one.attempts ? `${text.attempts} ${one.attempts}` : "",
  ]
    .filter(Boolean)
    .join(" · ");

function show(found) {
  const way = el("ol", "", { className: "way" });
  way.append(...found.steps.map(step));
  $("timeline").replaceChildren(
    facts(found),
    way,
    ...list(text.transfers, found.transfers.map(transfer)),
    ...list(text.messages, found.messages.map(message)),
  );
}

async function find(name) {
  try {
    show(await send("GET", `/ops/payments/${encodeURIComponent(name)}`));
    notice();
  } catch (error) {
    $("timeline").replaceChildren();
    notice(error);
  }
}

/** Make the form find payments. */
export function openTimeline() {
  $("find").addEventListener("submit", (event) => {
    event.preventDefault();
    find($("name").value.trim());
  });
}
