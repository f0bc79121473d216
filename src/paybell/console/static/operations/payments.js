// Payments: one is found by any of its ids.

import { h } from "./dom.js";
import { go, paymentAddress } from "./router.js";
import { text } from "./text.js";

/** Make the form that leads to a payment. */
function finder() {
  const field = h("input", {
    id: "name",
    type: "search",
    autocomplete: "off",
    spellcheck: false,
    maxLength: 100,
    required: true,
  });
  const find = (event) => {
    event.preventDefault();
    go(paymentAddress(field.value.trim()));
  };
  return h(
    "form",
    { id: "find", role: "search", onsubmit: find },
    h("label", { htmlFor: "name" }, text.anyId),
    field,
    h("button", { className: "main" }, text.find),
  );
}

/** Open the page. */
export const openPayments = () => ({ element: h("div", { className: "stack" }, finder()) });
