// A payment's way: each step with its moment, and how long it took, drawn to scale.

import { h } from "./dom.js";
import { seconds } from "./figures.js";
import { text } from "./text.js";
import { moment } from "./times.js";

// Milliseconds after minutes would not be seen on one scale: what a person takes and what we take have one each.
const PHASES = [
  [
    "asked",
    [
      "order_created",
      "pay_order_created",
      "attempt_made",
      "attempt_refused",
      "attempt_closed",
      "attempt_manual",
      "paid",
      "closed",
    ],
  ],
  ["notified", ["committed", "published", "confirmed", "delivered", "applied"]],
  ["after", ["refund_begun", "refunded", "refund_failed", "attempt_late_success", "returned"]],
];

const ms = (step) => Date.parse(step.at);

/** Give each dated step its part of the phase, from 0 to 1: when it began and when it ended. */
function scaled(steps, begin, end) {
  const length = Math.max(end - begin, 1);
  let before = begin;
  return steps.map((step) => {
    if (!step.at) return { step, from: null, to: null };
    const [from, to] = [before, Math.max(before, ms(step))];
    before = to;
    return { step, from: (from - begin) / length, to: (to - begin) / length };
  });
}

function line({ step, from, to }) {
  const took = step.sinceBeforeSeconds;
  const bar = h("span", { className: "bar-of-time", "aria-hidden": "true" });
  if (from !== null) {
    const part = h("span");
    part.style.left = `${Math.min(from, 0.995) * 100}%`;
    part.style.width = `${Math.max(to - from, 0.005) * 100}%`;
    bar.append(part);
  }
  const at = step.at
    ? moment(step.at, true)
    : h("span", { className: "quiet" }, text[step.state === "waiting" ? "waiting" : "unknownTime"]);
  const item = h(
    "li",
    {},
    h(
      "b",
      {},
      text.steps[step.name] ?? step.name,
      step.channel && h("span", { className: "quiet" }, ` ${step.channel}`),
    ),
    at,
    h("span", { className: "took number" }, took === null || took === undefined ? "" : text.after(seconds(took))),
    bar,
  );
  item.dataset.state = step.state;
  item.dataset.step = step.name;
  return item;
}

/** Draw the steps, phase by phase. */
export function way(steps) {
  let begin = null;
  const drawn = PHASES.map(([name, members]) => {
    const own = steps.filter((step) => members.includes(step.name));
    if (!own.length) return null;
    const times = own.filter((step) => step.at).map(ms);
    begin ??= times[0];
    const from = begin ?? 0;
    const end = times.length ? Math.max(...times) : from;
    const lines = scaled(own, from, end).map(line);
    begin = end;
    return h(
      "section",
      { className: "phase" },
      h(
        "h3",
        {},
        text.phases[name],
        " ",
        end > from && h("span", { className: "quiet number" }, seconds((end - from) / 1000)),
      ),
      h("ol", { className: "way" }, lines),
    );
  });
  return h("div", { className: "ways" }, drawn.filter(Boolean));
}
