// Payments: newest first, filtered by what the address says, page by page, and as a file.

import { csvButton } from "./csv.js";
import { h, table } from "./dom.js";
import { amount } from "./figures.js";
import { loader } from "./loading.js";
import { badge } from "./payment.js";
import { address, go, paymentAddress } from "./router.js";
import { send } from "./session.js";
import { text } from "./text.js";
import { fromField, moment, onZone, toField } from "./times.js";

const STATUSES = ["WAIT_BUYER_PAY", "TRADE_SUCCESS", "TRADE_CLOSED"];
const TIMES = ["since", "until"];
const TEXTS = ["payerId", "merchantId"];
const AMOUNTS = ["minAmount", "maxAmount"];
const NAMES = ["status", "notDelivered", ...TEXTS, ...AMOUNTS, ...TIMES];

/** The form of the filters; what it says is the address, and the address is what it says. */
function filters(changed) {
  const field = (name, given) => {
    const id = `filter-${name}`;
    const input = h("input", { id, name, autocomplete: "off", spellcheck: false, maxLength: 64, ...given });
    return h("p", { className: "field" }, h("label", { htmlFor: id }, text.filters[name]), input);
  };
  const status = h(
    "select",
    { id: "filter-status", name: "status" },
    h("option", { value: "" }, text.any),
    STATUSES.map((one) => h("option", { value: one }, text.payStatuses[one])),
  );
  const form = h(
    "form",
    { id: "filters", className: "filters", onchange: say, onsubmit: say },
    h("p", { className: "field" }, h("label", { htmlFor: "filter-status" }, text.filters.status), status),
    TEXTS.map((name) => field(name, {})),
    AMOUNTS.map((name) => field(name, { inputMode: "numeric", pattern: "[0-9]{1,16}", placeholder: text.minorUnits })),
    TIMES.map((name) => field(name, { type: "datetime-local" })),
    h(
      "label",
      { className: "choice" },
      h("input", { type: "checkbox", name: "notDelivered" }),
      h("span", {}, text.filters.notDelivered),
    ),
    h("a", { href: address("payments"), className: "clear" }, text.clearFilters),
    h("button", { className: "unseen", tabIndex: -1 }, text.applyFilters),
  );

  function say(event) {
    event.preventDefault();
    if (!form.reportValidity()) return;
    const given = Object.fromEntries(new FormData(form));
    for (const name of TIMES) given[name] = fromField(given[name]);
    changed({ ...given, notDelivered: given.notDelivered ? "true" : "" });
  }

  /** Show what the address says. */
  function show(query) {
    for (const name of NAMES) {
      const input = form.elements[name];
      if (name === "notDelivered") input.checked = query[name] === "true";
      else input.value = TIMES.includes(name) ? toField(query[name]) : (query[name] ?? "");
    }
    form.querySelector(".clear").hidden = !NAMES.some((name) => query[name]);
  }

  return { form, show };
}

const COLUMNS = () => [
  [text.created],
  [text.amount, "right"],
  [text.status],
  [text.atTheOrder],
  [text.payer],
  [text.merchant],
  [text.order],
];

const PAID = ["PAID", "PARTIALLY_REFUNDED", "REFUNDED"];

/** What the order says; paid here and not there is what somebody should look at. */
function order(one) {
  if (!one.orderStatus) return h("span", { className: "quiet" }, text.noOrder);
  const behind = one.status === "TRADE_SUCCESS" && !PAID.includes(one.orderStatus);
  const words = text.orderStatuses[one.orderStatus] ?? one.orderStatus;
  return behind ? h("span", { className: "mark bad" }, words) : words;
}

const line = (one) => [
  h("a", { href: paymentAddress(one.payOrderId) }, moment(one.createdAt)),
  amount(one.amount, one.currency),
  [badge(one.status), one.refundedAmount ? ` ${text.lessRefunds(amount(one.refundedAmount, one.currency))}` : ""],
  order(one),
  one.payerId,
  one.merchantId,
  h("span", { className: "number" }, one.bizOrderNo),
];

function finder() {
  const field = h("input", {
    id: "name",
    type: "search",
    autocomplete: "off",
    spellcheck: false,
    maxLength: 100,
    required: true,
    placeholder: text.anyId,
    "aria-label": text.anyId,
  });
  const find = (event) => {
    event.preventDefault();
    go(paymentAddress(field.value.trim()));
  };
  return h("form", { id: "find", role: "search", onsubmit: find }, field, h("button", {}, text.find));
}

/** Open the page. */
export function openPayments({ query: first }) {
  let query = first;
  const { form, show } = filters((given) => go(address("payments", given)));
  const shown = h("div", { className: "stack", id: "payments" }, h("p", { className: "skeleton tall" }));
  const said = h("div", { role: "status" });

  const asked = (more = {}) => {
    const kept = Object.entries({ ...query, ...more }).filter(([, value]) => value);
    return `/ops/payments?${new URLSearchParams(kept)}`;
  };

  const load = loader(shown, () => send("GET", asked()), draw);

  function draw(page) {
    shown.replaceChildren(
      h("p", { className: "quiet" }, query.since ? "" : text.lastDays),
      table(COLUMNS(), page.payments.map(line), text.noPayments, text.pages.payments),
      h(
        "nav",
        { className: "pager", "aria-label": text.pager },
        query.after && h("a", { href: address("payments", { ...query, after: "" }) }, text.newestPage),
        page.next && h("a", { href: address("payments", { ...query, after: page.next }) }, text.olderPage),
      ),
    );
  }

  function update(changed) {
    query = changed;
    show(query);
    return load();
  }

  show(query);
  const unzone = onZone(() => show(query));
  return {
    element: h("div", { className: "stack" }, form, said, shown),
    tools: [finder(), csvButton(() => asked({ after: "" }), "payments.csv", said)],
    ready: load(),
    update,
    close: unzone,
  };
}
