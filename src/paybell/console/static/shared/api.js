// How the pages speak to the service: one token for this tab, problems as errors, event streams by fetch.

import { digits } from "./currencies.js";

// A buyer's page and an operator's may follow each other in one tab; neither takes the other's token.
const KEY = location.pathname.includes("/cashier/") ? "paybell.token.buyer" : "paybell.token";
const LANGUAGE_KEY = "paybell.language";
const RETRIES_MS = [200, 500, 1000, 2000, 3000, 5000];
// Longer than the service takes for anything: whoever is silent for so long does not answer.
const ANSWER_MS = 20_000;
// What the service says that cannot do it now, and a proxy of one that is away; a channel that is away is a refusal.
const isAway = ({ status, code }) => [502, 503, 504].includes(status) && code !== "channel_unavailable";
// The service may stand below a path of a proxy: its root is two above this file's folder.
export const ROOT = new URL("../..", import.meta.url);

/** The reader's choice if there is one, else the browser's; what imports it sees it change. */
export let language =
  [localStorage.getItem(LANGUAGE_KEY) ?? "", ...(navigator.languages ?? [navigator.language])]
    .map((tag) => tag.toLowerCase().split("-")[0])
    .find((tag) => tag === "zh" || tag === "en") ?? "en";

/** The language as its reader's region writes dates and numbers. */
export const locale = () => (navigator.languages ?? []).find((tag) => tag.split("-")[0] === language) ?? language;

/** Choose a language for this and later visits; the page shows itself anew. */
export function chooseLanguage(tag) {
  language = tag;
  localStorage.setItem(LANGUAGE_KEY, tag);
}

/** Take the token out of the address, so that it is not copied with the link, and keep it for this tab. */
function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(KEY, given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(KEY) ?? "";
}

const token = takeToken();
// Another token is another user's page; a link to a section only leads there.
addEventListener("hashchange", () => {
  if (takeToken() !== token) location.reload();
});

/** What the page's user is known by; empty: nobody has said. */
export const currentToken = () => token;

/** Take another token from the next load of the page on. */
export const keepToken = (given) => sessionStorage.setItem(KEY, given);

/** A request the service refused; `problem` is its problem document (RFC 9457). */
export class Refusal extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `HTTP ${status}`);
    this.status = status;
    this.code = problem.code ?? "unknown";
    this.problem = problem;
  }
}

/** How long to wait after so many failures, a little apart from others who wait for the same. */
const backoff = (failures) => RETRIES_MS[Math.min(failures, RETRIES_MS.length - 1)] * (0.75 + Math.random() / 2);
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function ask(method, path, body, { signal, more = {} } = {}) {
  const headers = { Authorization: `Bearer ${token}`, "Accept-Language": language, ...more };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  return fetch(new URL(path.slice(1), ROOT), {
    method,
    headers,
    signal,
    body: body === undefined ? undefined : JSON.stringify(body),
    credentials: "omit",
    cache: "no-store",
    redirect: "error",
  });
}

async function refused(response) {
  return new Refusal(response.status, await response.json().catch(() => ({})));
}

/** Send a request once; throws a Refusal, or a TypeError when nobody answers. `more`: further headers. */
export async function send(method, path, body, more = {}) {
  const response = await ask(method, path, body, { more, signal: AbortSignal.timeout(ANSWER_MS) });
  if (!response.ok) throw await refused(response);
  return response.json();
}

/** Read a table of this type; returns its content, and whether there is more than one answer holds. */
export async function download(path, type) {
  const response = await ask("GET", path, undefined, { more: { Accept: type } });
  if (!response.ok) throw await refused(response);
  return { blob: await response.blob(), more: response.headers.has("Paybell-Next") };
}

/** Send a request that may be repeated until the service answers it, however long; `waiting` learns of each try. */
export async function insist(method, path, body, waiting = () => {}) {
  for (let failures = 0; ; failures += 1) {
    try {
      return await send(method, path, body);
    } catch (error) {
      if (error instanceof Refusal && !isAway(error)) throw error;
      waiting(error);
      await pause(backoff(failures));
    }
  }
}

/** Hand the events of a stream to `onEvent(name, data)`, connecting again, until it returns false. */
export async function follow(path, onEvent, lost = () => {}) {
  for (let failures = 0; ; failures += 1) {
    try {
      const response = await ask("GET", path);
      if (!response.ok) throw await refused(response);
      for await (const [name, data] of events(response.body)) {
        failures = 0;
        if (onEvent(name, data) === false) return;
      }
    } catch (error) {
      // 429: this reader has too many windows open; one of them may close.
      if (error instanceof Refusal && error.status < 500 && error.status !== 429) throw error;
      lost(error);
    }
    await pause(backoff(failures));
  }
}

/** Send a request whose answer is a stream of events, and hand them out until it ends. */
export async function* stream(method, path, body) {
  const response = await ask(method, path, body);
  if (!response.ok) throw await refused(response);
  yield* events(response.body);
}

/** Read server-sent events (HTML Standard, 9.2): lines, of which an empty one ends an event. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (text + value).split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s)));
        if (fields.data) yield [fields.event, JSON.parse(fields.data)];
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Write minor units as people do, with the decimals that the service counts in and an unambiguous sign. */
export function money(amount, currency) {
  const decimals = digits[currency];
  const format = new Intl.NumberFormat(locale(), {
    style: "currency",
    currency,
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  });
  return format
    .formatToParts(amount / 10 ** decimals)
    .map(({ type, value }) => (type === "currency" ? sign(value, currency) : value))
    .join("");
}

/** A lone ¥ is yuan or yen, a lone $ one of twenty: the country before it, except a Chinese reader's yuan. */
function sign(symbol, currency) {
  const clear = !"¥$".includes(symbol) || (language === "zh" && currency === "CNY");
  return clear ? symbol : currency.slice(0, 2) + symbol;
}

export const $ = (id) => document.getElementById(id);
