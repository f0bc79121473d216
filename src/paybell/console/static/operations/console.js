// The operations console: how everything stands, one payment's way, dead letters, and the books.

import { $, follow, language } from "../shared/api.js";
import { openBooks } from "./books.js";
import { card } from "./chart.js";
import { openDeadLetters } from "./dead-letters.js";
import { openTimeline } from "./timeline.js";
import { count, el, line, notice, rows, seconds, text } from "./widgets.js";

const KEPT = 450;
let samples = [];

function showWords() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = text.title;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = text[element.dataset.text];
  for (const element of document.querySelectorAll("[data-label]"))
    element.setAttribute("aria-label", text[element.dataset.label]);
}

// Now -----------------------------------------------------------------------------------------------

const waiting = (sample) => sample.queues?.reduce((sum, queue) => sum + queue.ready, 0);
const CARDS = [
  ["paymentsPerSecond", (value) => value.toFixed(value < 10 ? 1 : 0)],
  ["settleSeconds", seconds],
  ["confirmedSeconds", seconds, (sample) => sample.confirmedSeconds50, (sample) => sample.confirmedSeconds99],
  ["outboxPending", count],
  ["outboxOldestSeconds", seconds],
  ["ready", count, waiting],
  ["retries", count],
  ["deadLetters", count],
  ["differences", count],
];
const cards = CARDS.map(([name, write, ...series]) =>
  card({ title: text.cards[name], write, words: text, series: series.length ? series : [(sample) => sample[name]] }),
);

function trouble(one) {
  const part = one.part.replace("_refuses", "");
  const [what, advice] = text.troubles[one.code](one, text.parts[part] ?? part);
  const item = el("li");
  item.append(el("b", what), advice);
  return item;
}

function show() {
  const newest = samples.at(-1);
  if (!newest) return;
  for (const one of cards) one.update(samples);
  const well = el("li", text.well, { className: "well" });
  $("troubles").replaceChildren(...(newest.troubles.length ? newest.troubles.map(trouble) : [well]));
  const queues = (newest.queues ?? []).map((queue) =>
    queue.consumers < 0
      ? line(queue.name, text.noQueue, "–")
      : line(queue.name, count(queue.ready), count(queue.consumers)),
  );
  rows("queues", queues, text.localBroker, 3);
}

function connected(state) {
  $("live").dataset.state = state;
  $("live").textContent = text[state];
}

function watch() {
  connected("connecting");
  follow(
    "/ops/now",
    (name, data) => {
      connected("live");
      notice();
      samples = name === "history" ? data : [...samples, data].slice(-KEPT);
      show();
      return true;
    },
    () => connected("lost"),
  ).catch((error) => {
    connected("lost");
    notice(error);
  });
}

showWords();
$("cards").append(...cards.map((one) => one.element));
rows("queues", [], "", 3);
watch();
openTimeline();
openDeadLetters();
openBooks();
