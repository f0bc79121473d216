// What can be done about one payment: refund, close, publish again. Each asks first, and is in the audit after.

import { ask, idempotencyKeys } from "./ask.js";
import { h } from "./dom.js";
import { amount, minorUnits, typedAmount } from "./figures.js";
import { may, send } from "./session.js";
import { text } from "./text.js";

const act = (found, deed, body, more) => send("POST", `/ops/payments/${found.payOrderId}/${deed}`, body, more);

function askRefund(found) {
  const { currency, payerId } = found;
  const left = found.possible.refundableAmount;
  const key = idempotencyKeys();
  const typed = ({ amount: words }) => minorUnits(words, currency);
  return ask({
    title: text.askRefund.title(amount(left, currency)),
    lines: [text.askRefund.text(payerId, found.merchantId, found.bizOrderNo)],
    fields: [
      {
        name: "amount",
        label: text.askRefund.amount(currency),
        value: typedAmount(left, currency),
        inputMode: "decimal",
        hint: text.askRefund.most(amount(left, currency)),
      },
      { name: "reason", label: text.why, maxLength: 256 },
    ],
    check(values) {
      const minor = typed(values);
      if (!minor || minor > left) return text.askRefund.wrong(amount(left, currency));
      return values.reason.trim() ? "" : text.askRefund.whyMissing;
    },
    confirm: (values) =>
      typed(values) ? text.askRefund.confirm(amount(typed(values), currency), payerId) : text.askRefund.button,
    danger: true,
    work(values) {
      const body = { amount: typed(values), reason: values.reason.trim() };
      return act(found, "refund", body, { "Idempotency-Key": key(body) });
    },
  });
}

function askPlain(found, deed, words) {
  const money = amount(found.amount, found.currency);
  return ask({
    title: words.title(money),
    lines: [words.text(money, found.payerId, found.bizOrderNo)],
    confirm: words.confirm(money, found.payerId),
    danger: deed === "close",
    // Both come to the same when they are asked for again.
    work: () => act(found, deed),
  });
}

/** Make the buttons of what the status and the token allow; `done()` reads the payment again. */
export function actionButtons(found, done) {
  const button = (name, work) => h("button", { type: "button", onclick: async () => (await work()) && done() }, name);
  const { refundableAmount, mayClose, mayRepublish } = found.possible;
  return [
    refundableAmount > 0 && may("refund") && button(text.askRefund.button, () => askRefund(found)),
    mayClose && may("refund") && button(text.askClose.button, () => askPlain(found, "close", text.askClose)),
    mayRepublish &&
      may("repair") &&
      button(text.askRepublish.button, () => askPlain(found, "republish", text.askRepublish)),
  ].filter(Boolean);
}
