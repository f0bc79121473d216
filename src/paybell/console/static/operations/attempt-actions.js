// Settling by hand what no channel can say or give back: one person asks, another one confirms or withdraws it.

import { ask } from "./ask.js";
import { isAsked } from "./attempts.js";
import { h } from "./dom.js";
import { amount } from "./figures.js";
import { may, operator, send } from "./session.js";
import { text } from "./text.js";

const path = (found, more = "") => `/attempts/${found.attempt.attemptId}/settlements${more}`;
const money = ({ attempt }) => amount(attempt.amount, attempt.currency);

const note = () => ({ name: "note", label: text.askSettle.note, hint: text.askSettle.noteHint, maxLength: 256 });
const noted = (values) => (values.note.trim() ? "" : text.askSettle.noteMissing);

function askFor(found, outcome) {
  const words = text.askSettle[outcome];
  const reference = {
    name: "reference",
    label: text.askSettle.reference,
    hint: text.askSettle.referenceHint,
    maxLength: 255,
  };
  return ask({
    title: words.title(money(found), found.payerId),
    lines: [words.text(found.attempt.channel, found.bizOrderNo), text.askSettle.second],
    fields: outcome === "not_paid" ? [note()] : [reference, note()],
    check: noted,
    confirm: words.confirm(money(found), found.payerId),
    danger: true,
    work: (values) =>
      send("POST", path(found), { outcome, reference: (values.reference ?? "").trim(), note: values.note.trim() }),
  });
}

function askConfirm(found) {
  const { outcome, reference, note: where, askedBy } = found.settlement;
  const words = text.askSettle[outcome];
  return ask({
    title: words.confirmTitle(money(found), found.payerId),
    lines: [
      text.waitsForSecond(askedBy, text.outcomes[outcome], reference, where),
      words.text(found.attempt.channel, found.bizOrderNo),
    ],
    fields: [note()],
    check: noted,
    confirm: words.confirmSecond(money(found), found.payerId),
    danger: true,
    work: (values) => send("POST", path(found), { outcome, reference, note: values.note.trim() }),
  });
}

function askWithdraw(found) {
  const { outcome, askedBy } = found.settlement;
  return ask({
    title: text.askSettle.withdraw.title(money(found), found.payerId),
    lines: [text.askSettle.withdraw.text(askedBy, text.outcomes[outcome])],
    confirm: text.askSettle.withdraw.confirm(askedBy),
    work: () => send("POST", path(found, "/withdraw")),
  });
}

/** What people may say of it now. */
function outcomesOf(found) {
  if (found.attempt.state === "MANUAL") return ["paid", "not_paid"];
  return found.givenBack === "FAILED" ? ["given_back"] : [];
}

/** Make the buttons of what the attempt and the token allow; `done()` reads the attempt again. */
export function settlingButtons(found, done) {
  if (!may("repair")) return [];
  const button = (name, work) => h("button", { type: "button", onclick: async () => (await work()) && done() }, name);
  const outcomes = outcomesOf(found);
  if (isAsked(found))
    return [
      outcomes.length > 0 &&
        found.settlement.askedBy !== operator &&
        button(text.askSettle.button, () => askConfirm(found)),
      button(text.askSettle.withdraw.button, () => askWithdraw(found)),
    ].filter(Boolean);
  return outcomes.map((outcome) => button(text.askSettle[outcome].button, () => askFor(found, outcome)));
}
