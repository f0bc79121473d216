// Figures as people read them.

import { language, Refusal } from "../shared/api.js";
import { digits } from "../shared/currencies.js";
import { h } from "./dom.js";
import { text } from "./text.js";

export const count = (value) => value.toLocaleString(language);

/** Write a duration given in seconds. */
export function seconds(value) {
  if (value === 0) return "0 s";
  if (value < 0.01) return `${(value * 1000).toFixed(1)} ms`;
  if (value < 1) return `${(value * 1000).toFixed(0)} ms`;
  if (value < 120) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  if (value < 7200) return `${(value / 60).toFixed(0)} min`;
  return value < 172800 ? `${(value / 3600).toFixed(1)} h` : `${(value / 86400).toFixed(1)} d`;
}

/** Write minor units with the decimals the service counts in, and the currency's code, which is never ambiguous. */
export function amount(minor, currency) {
  const decimals = digits[currency];
  const format = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  return `${(minor / 10 ** decimals).toLocaleString(language, format)} ${currency}`;
}

/** What a channel said last of an attempt, in its own words. */
export const lastSaid = (one) => [one.code, one.detail].filter(Boolean).join(" · ") || "–";

/** Read what somebody typed as an amount; minor units, or null if it is none. */
export function minorUnits(typed, currency) {
  const match = /^([0-9]{1,13})(?:\.([0-9]+))?$/.exec(typed.trim());
  const decimals = digits[currency];
  if (!match || (match[2] ?? "").length > decimals) return null;
  return Number(match[1] + (match[2] ?? "").padEnd(decimals, "0"));
}

/** Write minor units as `minorUnits` reads them. */
export const typedAmount = (minor, currency) => (minor / 10 ** digits[currency]).toFixed(digits[currency]);

/** Say what went wrong, where it went wrong. */
export function sentence(error) {
  if (!(error instanceof Refusal)) return error instanceof TypeError ? text.noAnswer : error.message;
  return error.status === 401 ? text.notDone : error.status === 403 ? text.forbidden(error.message) : error.message;
}

/** Make the notice of an error, perhaps with a button to try again. */
export const problem = (error, again) =>
  h(
    "div",
    { className: "problem", role: "alert" },
    h("p", {}, sentence(error)),
    again && h("button", { type: "button", onclick: again }, text.tryAgain),
  );
