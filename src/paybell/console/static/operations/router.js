// Pages with addresses: the History API turns links into views, and the address keeps what one sees.

import { ROOT } from "../shared/api.js";

const BASE = new URL("console", ROOT).pathname;

/** The address of a page: `address("payments", {status: "PAID"})`; empty filters are left out. */
export function address(path = "", query = {}) {
  const kept = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const search = kept.length ? `?${new URLSearchParams(kept)}` : "";
  return BASE + (path && `/${path}`) + search;
}

/** The address of one payment, by any of its ids. */
export const paymentAddress = (id) => address(`payments/${encodeURIComponent(id)}`);

/** The address of one attempt. */
export const attemptAddress = (id) => address(`attempts/${encodeURIComponent(id)}`);

function current() {
  const [page = "", id = ""] = location.pathname.slice(BASE.length).split("/").filter(Boolean);
  return { page, id: decodeURIComponent(id), query: Object.fromEntries(new URLSearchParams(location.search)) };
}

let shown = null;
let show = () => {};

/** Go to another address. `replace`: the one that is left is not worth coming back to. */
export function go(to, { replace = false } = {}) {
  const stays = replace || new URL(to, location.href).href === location.href;
  history.replaceState({ scroll: scrollY }, "");
  history[stays ? "replaceState" : "pushState"]({}, "", to);
  arrive();
}

async function arrive(scroll = 0) {
  const at = current();
  const same = shown && shown.at.page === at.page && shown.at.id === at.id;
  if (!same) shown?.view.close?.();
  shown = { at, view: same ? shown.view : show(at) };
  const mine = shown;
  if (same) await shown.view.update?.(at.query);
  else await shown.view.ready;
  // Only when the content is there can the page be where it was.
  if (shown === mine && (!same || scroll)) scrollTo(0, scroll);
}

function follow(event) {
  const link = event.target.closest?.("a[href]");
  const plain = event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
  if (!link || !plain || event.defaultPrevented || link.target || link.hasAttribute("download")) return;
  if (link.origin !== location.origin || !(link.pathname === BASE || link.pathname.startsWith(`${BASE}/`))) return;
  if (link.hash && link.pathname === location.pathname) return;
  event.preventDefault();
  go(link.href);
}

/** Show the page of the address, and whatever is gone to; `open(at)` returns a view. */
export function route(open) {
  show = open;
  history.scrollRestoration = "manual";
  addEventListener("click", follow);
  addEventListener("popstate", (event) => arrive(event.state?.scroll ?? 0));
  addEventListener("pagehide", () => history.replaceState({ scroll: scrollY }, ""));
  arrive(history.state?.scroll ?? 0);
}
