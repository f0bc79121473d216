// The operator's token: what it allows, when it ends, and how the console asks for another one.

import * as api from "../shared/api.js";
import { h } from "./dom.js";
import { text } from "./text.js";
import { moment } from "./times.js";

const TIMER_MOST_MS = 2 ** 31 - 1;

/** Read the claims, to show them; whether they are true is the service's business. */
function claimsOf(token) {
  try {
    const [, payload] = token.split(".");
    const bytes = Uint8Array.from(atob(payload.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return {};
  }
}

const claims = claimsOf(api.currentToken());
const scopes = new Set((claims.scope ?? "").split(" "));
const listeners = new Set();

/** `ok`, or why nothing is answered: `none`, `expired`, `refused` (not accepted) or `forbidden` (without a scope). */
export let standing = api.currentToken() ? "ok" : "none";
export const operator = claims.sub ?? "";

/** Say whether the token allows `read`, `repair` or `refund`; what it does not is not offered. */
export const may = (deed) => scopes.has("ops") || scopes.has(`ops:${deed}`);

export const onStanding = (callback) => listeners.add(callback);

const isOver = () => claims.exp * 1000 <= Date.now();

function become(state) {
  if (standing === state) return;
  standing = state;
  for (const callback of listeners) callback();
}

/** Look at what went wrong: a token that is no longer accepted concerns the whole console. */
export function judge(error) {
  if (!(error instanceof api.Refusal)) return error;
  if (error.status === 401) become(isOver() || /expired/.test(error.message) ? "expired" : "refused");
  if (error.status === 403 && !may("read")) become("forbidden");
  return error;
}

/** Send a request as `api.send` does. */
export const send = (...request) =>
  api.send(...request).catch((error) => {
    throw judge(error);
  });

/** Send a request whose answer is a stream of events. */
export async function* stream(...request) {
  try {
    yield* api.stream(...request);
  } catch (error) {
    throw judge(error);
  }
}

/** Watch the clock, because a page on which nothing is asked would not learn that its token has ended. */
export function watchExpiry() {
  if (!claims.exp || standing !== "ok") return;
  const left = claims.exp * 1000 - Date.now();
  if (left <= 0) become("expired");
  else setTimeout(watchExpiry, Math.min(left + 50, TIMER_MOST_MS));
}

/** Make what asks for a token, with the reason; empty while one is accepted. */
export function gate() {
  const words = text.gate[standing];
  if (!words) return [];
  const field = h("input", {
    id: "token",
    type: "password",
    autocomplete: "off",
    spellcheck: false,
    required: true,
    "aria-describedby": "gate-how",
  });
  const enter = (event) => {
    event.preventDefault();
    api.keepToken(field.value.trim());
    location.reload();
  };
  return [
    h("h2", {}, words.title),
    h(
      "p",
      {},
      words.why,
      standing === "expired" && claims.exp ? [" ", moment(new Date(claims.exp * 1000).toISOString())] : "",
    ),
    h(
      "form",
      { onsubmit: enter },
      h("label", { htmlFor: "token" }, text.gate.label),
      field,
      h("button", { className: "main" }, text.gate.enter),
    ),
    h("p", { id: "gate-how", className: "quiet" }, text.gate.how, " ", h("code", {}, text.gate.command)),
  ];
}
