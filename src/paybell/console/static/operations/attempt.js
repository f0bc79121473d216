// One attempt: where it stands, what the channel and people have said of it, and how it is settled by hand.

import { settlingButtons } from "./attempt-actions.js";
import { isAsked } from "./attempts.js";
import { actionsTable } from "./audit.js";
import { h, table } from "./dom.js";
import { amount, count, lastSaid } from "./figures.js";
import { loader } from "./loading.js";
import { badge, identity } from "./payment.js";
import { address, paymentAddress } from "./router.js";
import { send } from "./session.js";
import { text } from "./text.js";
import { moment } from "./times.js";

function facts(found) {
  const { attempt } = found;
  const pairs = [
    [text.state, badge(attempt.state, text.attemptStates)],
    [text.channel, attempt.channel],
    [text.channelSaid, lastSaid({ code: attempt.code, detail: found.detail })],
    [text.attempt, identity(attempt.attemptId)],
    [text.payOrder, identity(attempt.payOrderId, paymentAddress(attempt.payOrderId))],
    [text.order, identity(found.bizOrderNo)],
    [text.payer, identity(found.payerId, address("payments", { payerId: found.payerId }))],
    [text.merchant, identity(found.merchantId, address("payments", { merchantId: found.merchantId }))],
    [text.channelNumber, found.transactionId ? identity(found.transactionId) : "–"],
    [text.payableUntil, moment(attempt.expiresAt)],
    [text.queries, [count(found.queries), found.nextQueryAt && [` · ${text.nextQuery} `, moment(found.nextQueryAt)]]],
  ];
  return h(
    "dl",
    { className: "facts" },
    pairs.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
  );
}

/** What there is to do, in words; nothing where it is decided. */
function advice(found) {
  const said = found.settlement;
  const words = isAsked(found)
    ? text.waitsForSecond(said.askedBy, text.outcomes[said.outcome], said.reference, said.note)
    : text.attemptAdvice[found.givenBack === "FAILED" ? "NOT_GIVEN_BACK" : found.attempt.state];
  return words && h("p", { className: "result good", id: "advice" }, words);
}

function history(found) {
  const columns = [[text.when], [text.what], [text.who], [text.inWords, "wide"]];
  const rows = found.history.map((one) => [
    moment(one.at, true),
    text.moments[one.what] ?? badge(one.what, text.attemptStates),
    one.who || "–",
    one.words || "–",
  ]);
  return [h("h2", {}, text.history), table(columns, rows, "", text.history)];
}

/** Open the page of the attempt with this id. */
export function openAttempt({ id }) {
  const heading = h("span", {}, text.attempt);
  const shown = h("div", { className: "stack" }, h("p", { className: "skeleton tall" }));
  const tools = h("div", { className: "inline" });

  async function read() {
    const found = await send("GET", `/attempts/${encodeURIComponent(id)}`);
    return [found, await actionsTable([["on", found.attempt.attemptId]])];
  }

  const load = loader(shown, read, ([found, actions]) => {
    const { attempt } = found;
    heading.replaceChildren(
      h("span", { className: "number" }, amount(attempt.amount, attempt.currency)),
      ` · ${attempt.channel}`,
    );
    tools.replaceChildren(...settlingButtons(found, load));
    shown.replaceChildren(
      ...[advice(found), facts(found)].filter(Boolean),
      ...history(found),
      h("h2", {}, text.actions),
      actions,
    );
  });

  const back = h("p", {}, h("a", { href: address("attempts") }, `← ${text.pages.attempts}`));
  return {
    element: h("div", { className: "stack" }, back, shown),
    title: heading,
    name: `${text.attempt} ${id}`,
    tools: [tools, h("button", { type: "button", onclick: load }, text.reload)],
    ready: load(),
    update: load,
  };
}
