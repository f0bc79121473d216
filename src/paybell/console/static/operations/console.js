// The operations console: the frame around its pages, and which page an address means.

import { $, chooseLanguage, language } from "../shared/api.js";
import { openAttempt } from "./attempt.js";
import { openAttempts } from "./attempts.js";
import { openAudit } from "./audit.js";
import { openBooks } from "./books.js";
import { openDeadLetters } from "./dead-letters.js";
import { h, icon } from "./dom.js";
import { count } from "./figures.js";
import { live, onLive, watch } from "./live.js";
import { openNow } from "./now.js";
import { openPayment } from "./payment.js";
import { openPayments } from "./payments.js";
import { address, route } from "./router.js";
import { gate, onStanding, operator, standing, watchExpiry } from "./session.js";
import { text } from "./text.js";
import { chooseUtc, inUtc, localZone, moment, onZone } from "./times.js";

const PAGES = {
  "": { name: "now", open: openNow, icon: "now", badge: (sample) => sample.troubles.length },
  payments: { name: "payments", open: openPayments, openOne: openPayment, icon: "payments" },
  attempts: {
    name: "attempts",
    open: openAttempts,
    openOne: openAttempt,
    icon: "attempts",
    badge: (sample) => sample.manualAttempts,
  },
  "dead-letters": { name: "dead-letters", open: openDeadLetters, icon: "dead", badge: (sample) => sample.deadLetters },
  books: { name: "books", open: openBooks, icon: "books", badge: (sample) => sample.differences },
  audit: { name: "audit", open: openAudit, icon: "audit" },
};

function nothingHere() {
  return { element: h("p", {}, text.noPage, " ", h("a", { href: address() }, text.pages.now)) };
}

/** Show the page of an address in the frame; returns its view. */
function open(at) {
  const page = PAGES[at.page];
  const view = standing === "none" ? { element: "" } : pageOf(page, at);
  const title = view.title ?? text.pages[page?.name] ?? text.noPage;
  $("heading").replaceChildren(title);
  document.title = `${view.name ?? text.pages[page?.name] ?? ""} · ${text.title}`;
  $("tools").replaceChildren(...(view.tools ?? []));
  $("view").replaceChildren(view.element);
  for (const link of $("rail").children) {
    if (link.dataset.page === at.page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (moved) $("heading").focus({ preventScroll: true });
  moved = true;
  return view;
}

// The first page is where the browser puts the focus; after that it follows the page.
let moved = false;

function pageOf(page, at) {
  const opened = at.id ? page?.openOne : page?.open;
  return opened ? opened(at) : nothingHere();
}

function showWords() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = text[element.dataset.text];
  for (const element of document.querySelectorAll("[data-label]"))
    element.setAttribute("aria-label", text[element.dataset.label]);
}

function rail() {
  return Object.entries(PAGES).map(([path, page]) => {
    const link = h("a", { href: address(path) }, icon(page.icon), h("span", {}, text.pages[page.name]));
    link.dataset.page = path;
    if (page.badge) link.append(h("b", { className: "badge number", hidden: true }));
    return link;
  });
}

/** Show on the rail what needs somebody, and whether that is still known. */
function showState() {
  $("live").dataset.state = live.state;
  const since = live.state === "lost" && live.newest ? [" ", moment(live.newest.at)] : [];
  const words = standing === "ok" ? text.states_of_stream[live.state] : text.noToken;
  $("live").replaceChildren(h("span", {}, words, ...since));
  for (const link of $("rail").children) {
    const badge = link.querySelector(".badge");
    const figure = live.newest && badge ? (PAGES[link.dataset.page].badge(live.newest) ?? 0) : 0;
    if (!badge) continue;
    badge.hidden = !figure;
    badge.textContent = figure ? count(figure) : "";
    badge.classList.toggle("stale", live.state !== "live");
  }
}

function foot() {
  const choices = [
    [false, text.zone.local(localZone())],
    [true, "UTC"],
  ];
  return [
    h(
      "fieldset",
      { className: "zones" },
      h("legend", {}, text.zone.legend),
      choices.map(([utc, name]) =>
        h(
          "label",
          {},
          h("input", { type: "radio", name: "zone", checked: inUtc() === utc, onchange: () => chooseUtc(utc) }),
          h("span", {}, name),
        ),
      ),
    ),
    h(
      "button",
      { type: "button", className: "language", lang: text.language.tag, onclick: changeLanguage },
      text.language.name,
    ),
    operator && h("p", { className: "quiet operator" }, text.operator, " ", h("b", {}, operator)),
  ].filter(Boolean);
}

function changeLanguage() {
  chooseLanguage(language === "zh" ? "en" : "zh");
  location.reload();
}

function showGate() {
  const asking = gate();
  $("gate").hidden = !asking.length;
  $("gate").replaceChildren(...asking);
  // What was read before is old now, and no button on it would do anything.
  $("view").inert = asking.length > 0;
  $("view").classList.toggle("stale", asking.length > 0);
  $("tools").inert = asking.length > 0;
  $("tools").classList.toggle("stale", asking.length > 0);
  showState();
}

showWords();
$("rail").append(...rail());
$("foot").append(...foot());
onStanding(showGate);
onLive(showState);
onZone(showState);
showGate();
document.body.classList.remove("unready");
route(open);
if (standing !== "none") {
  watchExpiry();
  watch();
}
