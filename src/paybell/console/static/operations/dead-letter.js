// One dead letter: its error, headers and body, and another try.

import { h } from "./dom.js";
import { problem } from "./figures.js";
import { paymentAddress } from "./router.js";
import { may, send } from "./session.js";
import { text } from "./text.js";
import { moment } from "./times.js";

function facts(letter) {
  const pairs = [
    [text.reason, letter.reason],
    [text.error, letter.error],
    [text.listener, letter.listener],
    [text.state, text.tabs[letter.state]],
    [text.attempts, letter.attempts],
    [text.received, letter.received],
    [text.firstFailed, moment(letter.firstFailedAt)],
    [text.lastFailed, moment(letter.lastFailedAt)],
    [text.contentType, letter.contentType],
    [
      text.headers,
      h(
        "ul",
        {},
        Object.entries(letter.headers).map(([name, value]) => h("li", {}, `${name}: ${value}`)),
      ),
    ],
  ];
  return h(
    "dl",
    { className: "facts" },
    pairs.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
  );
}

/** Show a letter; `closed()` when it is closed, `replay(id)` for another try. */
export function letterDialog(id, { closed, replay }) {
  const heading = h("h2", { id: "letter-title" }, text.deadLetter);
  const shown = h("div", { className: "stack" }, h("p", { className: "skeleton" }));
  const again = may("repair") && h("button", { type: "button", className: "main", onclick: another }, text.replayThis);
  const payment = h("a", { hidden: true }, text.openPayment);
  const dialog = h(
    "dialog",
    { id: "letter", "aria-labelledby": heading.id, onclose: end },
    heading,
    shown,
    h(
      "div",
      { className: "row end" },
      payment,
      h("button", { type: "button", onclick: () => dialog.close() }, text.close),
      again,
    ),
  );

  function another() {
    dialog.close();
    replay(id);
  }

  function end() {
    dialog.remove();
    closed();
  }

  async function load() {
    try {
      const letter = await send("GET", `/ops/failures/${encodeURIComponent(id)}`);
      heading.textContent = letter.eventId;
      payment.href = paymentAddress(letter.eventId);
      payment.hidden = false;
      const body = letter.text ?? `${text.binary} ${letter.base64}`;
      shown.replaceChildren(facts(letter), h("h3", {}, text.body), h("pre", { id: "letter-body", tabIndex: 0 }, body));
    } catch (error) {
      shown.replaceChildren(problem(error, load));
    }
  }

  document.body.append(dialog);
  dialog.showModal();
  load();
  return { id, close: () => dialog.close() };
}
