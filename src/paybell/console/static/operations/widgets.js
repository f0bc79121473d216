// What the parts of the console share: elements, tables, figures, and the words of the chosen language.

import { $, language, Refusal } from "../shared/api.js";
import { texts } from "./console-text.js";

export const text = texts[language];

export const el = (name, content = "", properties = {}) =>
  Object.assign(document.createElement(name), { textContent: content }, properties);
export const seconds = (value) =>
  value < 1 ? `${(value * 1000).toFixed(value < 0.1 ? 1 : 0)} ms` : `${value.toFixed(1)} s`;
export const count = (value) => value.toLocaleString(language);
export const when = (at) => new Date(at).toLocaleString(language, { hour12: false });
export const rows = (body, made, empty, columns) => {
  const nothing = el("tr");
  nothing.append(el("td", empty, { className: "empty", colSpan: columns }));
  $(body).replaceChildren(...(made.length ? made : [nothing]));
};
export const line = (...cells) => {
  const row = el("tr");
  row.append(
    ...cells.map((cell) => {
      const data = el("td");
      data.append(cell);
      return data;
    }),
  );
  return row;
};
/** Say what went wrong, once for the whole page; nothing when all is well again. */
export const notice = (error) => {
  $("notice").textContent = !error
    ? ""
    : error instanceof Refusal && [401, 403].includes(error.status)
      ? text.token
      : error.message;
};
