// Attempts: what was tried at channels and needs somebody, by reason, the most urgent first; or all of them.

import { h, table } from "./dom.js";
import { amount, count, lastSaid, seconds } from "./figures.js";
import { loader } from "./loading.js";
import { badge, identity } from "./payment.js";
import { address, attemptAddress, go, paymentAddress } from "./router.js";
import { send } from "./session.js";
import { text } from "./text.js";
import { moment } from "./times.js";

const NEEDS = ["manual", "not_given_back", "differs", "in_doubt", "giving_back", "disputed"];
const STATES = ["MANUAL", "UNKNOWN", "OPEN", "SENT", "PREPARED", "SUCCEEDED", "LATE_SUCCESS", "REFUSED", "CLOSED"];

const age = (one) => text.ago(seconds(Math.max(0, (Date.now() - Date.parse(one.changedAt)) / 1000)));

/** Whether somebody has asked for a settlement that another person has to confirm. */
export const isAsked = (one) => one.settlement !== null && one.settlement.confirmedBy === null;

const COLUMNS = () => [
  [text.since],
  [text.amount, "right"],
  [text.channel],
  [text.state],
  [text.channelSaid, "wide"],
  [text.payOrder],
];

const line = (one) => [
  [h("a", { href: attemptAddress(one.attemptId) }, moment(one.changedAt)), h("br"), h("small", {}, age(one))],
  amount(one.amount, one.currency),
  one.channel,
  [
    badge(one.state, text.attemptStates),
    isAsked(one) && [h("br"), h("small", {}, text.askedBy(one.settlement.askedBy))],
  ],
  lastSaid(one),
  identity(one.payOrderId, paymentAddress(one.payOrderId)),
];

/** Open the page; `query`: which need (or all), which state, and before which attempt. */
export function openAttempts({ query: first }) {
  let query = first;
  const tabs = h("nav", { className: "tabs", "aria-label": text.needsOfAttempts });
  const states = h(
    "select",
    { id: "state", onchange: () => go(here({ state: states.value })) },
    h("option", { value: "" }, text.any),
    STATES.map((one) => h("option", { value: one }, text.attemptStates[one])),
  );
  const filter = h("p", { className: "filter" }, h("label", { htmlFor: "state" }, text.state), states);
  const rows = h("div", { className: "stack", id: "attempts" });
  const skeleton = h("p", { className: "skeleton tall" });
  // All at once when the first answer is there, so that nothing moves under the finger.
  const body = h("div", { className: "stack", hidden: true }, tabs, filter, rows);

  const need = () => ([...NEEDS, "all"].includes(query.need) ? query.need : NEEDS[0]);
  const here = (change) => address("attempts", { ...query, before: "", ...change });

  function read() {
    const asked = { need: need() === "all" ? "" : need(), state: query.state, before: query.before };
    return send("GET", `/attempts?${new URLSearchParams(Object.entries(asked).filter(([, value]) => value))}`);
  }

  function tab(name, needs) {
    const figure = {
      manual: needs.manual,
      not_given_back: needs.notGivenBack,
      differs: needs.differs,
      in_doubt: needs.inDoubt,
      giving_back: needs.givingBack,
      disputed: needs.disputed,
    }[name];
    return h(
      "a",
      { href: address("attempts", { need: name }), "aria-current": name === need() ? "page" : null },
      text.needs[name],
      " ",
      figure !== undefined && h("b", { className: "number" }, count(figure)),
    );
  }

  const load = loader(rows, read, (page) => {
    tabs.replaceChildren(...[...NEEDS, "all"].map((name) => tab(name, page.needs)));
    filter.hidden = need() !== "all";
    states.value = query.state ?? "";
    rows.replaceChildren(
      h("p", { className: "quiet" }, text.needsText[need()]),
      table(COLUMNS(), page.attempts.map(line), text.noAttempts[need()], text.pages.attempts),
      h(
        "nav",
        { className: "pager", "aria-label": text.pager },
        query.before && h("a", { href: here({}) }, text.newestPage),
        page.next && h("a", { href: here({ before: page.next }) }, text.olderPage),
      ),
    );
  });

  async function firstLoad() {
    await load();
    skeleton.remove();
    body.hidden = false;
  }

  function update(changed) {
    query = changed;
    return load();
  }

  return {
    element: h("div", { className: "stack" }, skeleton, body),
    tools: [h("button", { type: "button", onclick: () => load() }, text.reload)],
    ready: firstLoad(),
    update,
  };
}
