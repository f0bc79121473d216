// A question before something is done: it names what will happen, stays open while that is tried, and says what went wrong.

import { h } from "./dom.js";
import { problem } from "./figures.js";
import { text } from "./text.js";

let numbered = 0;

function row({ name, label, hint, ...field }) {
  const id = `ask-${name}-${numbered}`;
  const input = h(field.rows ? "textarea" : "input", {
    id,
    name,
    autocomplete: "off",
    "aria-describedby": hint ? `${id}-hint` : null,
    ...field,
  });
  return h(
    "p",
    { className: "field" },
    h("label", { htmlFor: id }, label),
    input,
    hint && h("small", { id: `${id}-hint` }, hint),
  );
}

/**
 * Ask, and do it; resolves with what `work` returned, or null when the answer was no.
 * `fields` are inputs with a name and a label; `check(values)` returns what is wrong with them, if anything;
 * `confirm` (or `confirm(values)`) is the button's name: what will happen, with its amount.
 */
export function ask({ title, lines = [], fields = [], check = () => "", confirm, danger = false, work }) {
  numbered += 1;
  const { promise, resolve } = Promise.withResolvers();
  const said = h("div", { className: "said" });
  const yes = h("button", { className: danger ? "main danger" : "main" });
  const no = h("button", { type: "button", onclick: () => dialog.close() }, text.cancel);
  const form = h(
    "form",
    { onsubmit: submit, oninput: changed, noValidate: true },
    ...fields.map(row),
    said,
    h("div", { className: "row end" }, no, yes),
  );
  const heading = h("h2", { id: `ask-${numbered}` }, title);
  const dialog = h(
    "dialog",
    { "aria-labelledby": heading.id, onclose: () => finish(null) },
    heading,
    ...lines.map((line) => h("p", {}, line)),
    form,
  );
  const values = () => Object.fromEntries(new FormData(form));

  function name() {
    yes.textContent = typeof confirm === "function" ? confirm(values()) : confirm;
  }

  function changed() {
    name();
    said.replaceChildren();
  }

  function finish(answer) {
    dialog.remove();
    resolve(answer);
  }

  async function submit(event) {
    event.preventDefault();
    const wrong = check(values());
    if (wrong) {
      said.replaceChildren(problem(new Error(wrong)));
      return;
    }
    yes.disabled = true;
    said.replaceChildren();
    try {
      finish((await work(values())) ?? true);
    } catch (error) {
      said.replaceChildren(problem(error));
    }
    yes.disabled = false;
  }

  name();
  document.body.append(dialog);
  dialog.showModal();
  return promise;
}

/** Return a key for each request that says something else: the same one again is the same deed. */
export function idempotencyKeys() {
  const keys = new Map();
  return (body) => {
    const said = JSON.stringify(body);
    if (!keys.has(said)) keys.set(said, crypto.randomUUID());
    return keys.get(said);
  };
}
