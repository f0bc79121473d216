// Now: what is wrong first, in words, with what to do; then how the last quarter of an hour went.

import { chart } from "./chart.js";
import { h, refresh, table } from "./dom.js";
import { count, seconds } from "./figures.js";
import { live, onLive } from "./live.js";
import { address } from "./router.js";
import { text } from "./text.js";
import { moment, onZone, zoneName } from "./times.js";

// Where an operator goes on from a trouble, and what is to be seen there.
const QUERIES = {
  disputes: { need: "disputed" },
  not_given_back: { need: "not_given_back" },
  attempts_differ: { need: "differs" },
};
const PLACES = {
  dead_letters: "dead-letters",
  differences: "books",
  manual_attempts: "attempts",
  disputes: "attempts",
  not_given_back: "attempts",
  attempts_differ: "attempts",
};

const waiting = (sample) => sample.queues?.reduce((sum, queue) => sum + queue.ready, 0);
const rate = (value) => value.toFixed(value < 10 && !Number.isInteger(value) ? 1 : 0);
const CHARTS = [
  { name: "paymentsPerSecond", read: (sample) => sample.paymentsPerSecond, write: rate },
  { name: "confirmedSeconds50", read: (sample) => sample.confirmedSeconds50, write: seconds },
  { name: "confirmedSeconds99", read: (sample) => sample.confirmedSeconds99, write: seconds },
  { name: "settleSeconds", read: (sample) => sample.settleSeconds, write: seconds },
  { name: "outboxPending", read: (sample) => sample.outboxPending, write: count, whole: true },
  { name: "ready", read: waiting, write: count, whole: true },
];
const FIGURES = [
  ["outboxOldestSeconds", seconds],
  ["retries", count],
  ["deadLetters", count, "dead-letters"],
  ["differences", count, "books"],
];

function trouble(one) {
  const refuses = one.part.endsWith("_refuses");
  const part = one.part.replace("_refuses", "");
  const [what, advice] = text.troubles[one.code](one, text.parts[part] ?? part, refuses);
  const place = PLACES[one.code];
  return h(
    "li",
    { className: one.code === "away" ? "trouble bad" : "trouble" },
    h("b", {}, what),
    h("p", {}, advice, place && [" ", h("a", { href: address(place, QUERIES[one.code]) }, text.pages[place])]),
  );
}

/** The verdict: nothing is called well that is not known to be. */
function verdict() {
  if (live.state === "lost" || live.state === "shut") {
    return h(
      "li",
      { className: "trouble bad lost" },
      h("b", {}, live.state === "lost" ? text.lost.title : text.lost.shut),
      h("p", {}, live.newest ? [text.lost.since, " ", moment(live.newest.at), ". "] : "", text.lost.advice),
    );
  }
  if (!live.newest)
    return h("li", { className: "trouble waiting" }, h("b", {}, text.reading), h("p", {}, text.readingText));
  return h("li", { className: "trouble well" }, h("b", {}, text.well.title), h("p", {}, text.well.text));
}

function troubles() {
  const found = live.newest?.troubles ?? [];
  if (live.state !== "live") return [verdict(), ...found.map(trouble)];
  return found.length ? found.map(trouble) : [verdict()];
}

function figures(sample) {
  return FIGURES.map(([name, write, place]) => {
    const value = sample[name];
    const shown = h("b", { className: "number" }, value === null || value === undefined ? "–" : write(value));
    const bad = place && value > 0;
    const inside = [h("span", {}, text.figures[name]), shown];
    return h("li", { className: bad ? "bad" : "" }, place ? h("a", { href: address(place) }, inside) : inside);
  });
}

function queues(sample) {
  if (sample.queues === null) return h("p", { className: "quiet" }, text.localBroker);
  const rows = sample.queues.map((queue) =>
    queue.consumers < 0 ? [queue.name, text.noQueue, "–"] : [queue.name, count(queue.ready), count(queue.consumers)],
  );
  return table([[text.queue], [text.ready, "right"], [text.consumers, "right"]], rows, "", text.queues);
}

/** Open the page. */
export function openNow() {
  const list = h("ul", { className: "troubles", "aria-label": text.wrong });
  const spoken = h("p", { className: "unseen", role: "status" });
  const tiles = h("ul", { className: "tiles" });
  const queued = h("div", { id: "queues" });
  const charts = CHARTS.map(({ name, ...how }) => chart({ ...text.charts[name], ...how }));
  const spanned = h("span", { className: "quiet" });
  // All at once when the first sample is there, so that nothing moves under the eye.
  const rest = h(
    "div",
    { className: "stack", hidden: true },
    tiles,
    h("h2", {}, text.lately, " ", spanned),
    h(
      "div",
      { className: "charts" },
      charts.map((one) => one.element),
    ),
    h("h2", {}, text.queues),
    queued,
  );
  let said = "";
  const zoned = () => {
    spanned.textContent = text.span(zoneName());
  };

  function show() {
    const items = troubles();
    const words = items.map((item) => item.firstChild.textContent).join(". ");
    refresh(list, ...items);
    // Read out when something new is wrong or well again, not with each figure that changes.
    const codes = live.state + (live.newest?.troubles ?? []).map((one) => one.code + one.part).join(" ");
    if (codes !== said) spoken.textContent = words;
    said = codes;
    rest.classList.toggle("stale", live.state === "lost" || live.state === "shut");
    if (!live.newest) return;
    rest.hidden = false;
    for (const one of charts) one.update(live.samples);
    refresh(tiles, ...figures(live.newest));
    refresh(queued, queues(live.newest));
  }

  zoned();
  const ends = [onLive(show), onZone(zoned), ...charts.map((one) => one.close)];
  return {
    element: h("div", { className: "stack" }, spoken, list, rest),
    close: () => {
      for (const end of ends) end();
    },
  };
}
