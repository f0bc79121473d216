// A chart of the last quarter of an hour: axes, what is under the pointer, and gaps where nobody looked.

import { h, s } from "./dom.js";
import { text } from "./text.js";
import { clock, onZone, stamp } from "./times.js";

const SPAN_MS = 15 * 60 * 1000;
const TICK_MS = 5 * 60 * 1000;
// Samples come every two seconds; between two that are further apart there was none.
const GAP_MS = 5_000;
const HEIGHT = 132;
const PLOT = { top: 8, right: 10, bottom: 22, left: 52 };
const TICKS = 3;

/** Round numbers from zero to at least `most`, about `TICKS` steps of them. */
function ticksUpTo(most) {
  if (!(most > 0)) return [0, 1];
  const rough = most / TICKS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, index) => index * step);
}

/** Cut samples into pieces without a gap, and name the gaps; a sample without a value ends a piece, too. */
function pieces(points) {
  const found = { lines: [], gaps: [] };
  let line = null;
  let before = null;
  for (const [at, value] of points) {
    const apart = before !== null && at - before > GAP_MS;
    if (apart) found.gaps.push([before, at]);
    if (value === null || value === undefined) line = null;
    else if (line && !apart) line.push([at, value]);
    else {
      line = [[at, value]];
      found.lines.push(line);
    }
    before = at;
  }
  return found;
}

// All charts show the same moment.
const charts = new Set();
const pointAll = (at) => {
  for (const one of charts) one.point(at);
};

/** Make a chart; `read` takes a value, or null, out of a sample, `write` writes one. */
export function chart({ title, note = "", read, write, whole = false }) {
  const figure = h("p", { className: "figure number" }, "–");
  const drawing = s("svg", { height: HEIGHT, tabindex: 0, role: "img" });
  const tip = h("p", { className: "tip number", hidden: true });
  const element = h(
    "figure",
    { className: "chart" },
    h("figcaption", {}, h("b", {}, title), note && h("span", {}, note)),
    figure,
    h("div", { className: "plot" }, drawing, tip),
  );
  let points = [];
  let scale = null;
  let pointed = null;

  function draw() {
    const width = drawing.clientWidth;
    if (!width) return;
    const end = points.at(-1)?.[0] ?? Date.now();
    let ticks = ticksUpTo(Math.max(0, ...points.map(([, value]) => value ?? 0)));
    if (whole) ticks = ticks.filter(Number.isInteger);
    const [inner, tall] = [width - PLOT.left - PLOT.right, HEIGHT - PLOT.top - PLOT.bottom];
    scale = {
      x: (at) => PLOT.left + inner * (1 - (end - at) / SPAN_MS),
      y: (value) => PLOT.top + tall * (1 - value / ticks.at(-1)),
      at: (x) => end - SPAN_MS * (1 - (x - PLOT.left) / inner),
    };
    const { lines, gaps } = pieces(points);
    const begin = end - SPAN_MS;
    drawing.replaceChildren(
      ...gaps.map(([from, to]) => band(Math.max(from, begin), to, tall)),
      ...ticks.map((value) => level(value, width)),
      ...hours(begin, end),
      ...lines.map((line) => (line.length > 1 ? s("path", { class: "line", d: path(line) }) : dot(line[0]))),
      s("line", { class: "cross", y1: PLOT.top, y2: HEIGHT - PLOT.bottom, visibility: "hidden" }),
      s("circle", { class: "spot", r: 3.5, visibility: "hidden" }),
    );
    point(pointed);
  }

  const band = (from, to, tall) =>
    s("rect", { class: "gap", x: scale.x(from), y: PLOT.top, width: scale.x(to) - scale.x(from), height: tall });

  const level = (value, width) => {
    const y = scale.y(value);
    return s(
      "g",
      { class: value ? "level" : "level base" },
      s("line", { x1: PLOT.left, x2: width - PLOT.right, y1: y, y2: y }),
      s("text", { x: PLOT.left - 8, y: y + 4, "text-anchor": "end" }, value ? write(value) : "0"),
    );
  };

  function hours(begin, end) {
    const first = Math.ceil(begin / TICK_MS) * TICK_MS;
    const count = Math.floor((end - first) / TICK_MS) + 1;
    return Array.from({ length: Math.max(0, count) }, (_, index) => {
      const x = scale.x(first + index * TICK_MS);
      const label = clock(first + index * TICK_MS);
      return s(
        "g",
        { class: "hour" },
        s("line", { x1: x, x2: x, y1: HEIGHT - PLOT.bottom, y2: HEIGHT - PLOT.bottom + 4 }),
        s("text", { x, y: HEIGHT - 5, "text-anchor": x > drawing.clientWidth - 30 ? "end" : "middle" }, label),
      );
    });
  }

  const xy = ([at, value]) => [scale.x(at).toFixed(1), scale.y(value).toFixed(1)];
  const path = (line) => `M${line.map((one) => xy(one).join(" ")).join("L")}`;
  const dot = (one) => s("circle", { class: "lone", r: 1.8, cx: xy(one)[0], cy: xy(one)[1] });

  /** Show the sample nearest to a moment; null: none. */
  function point(at) {
    pointed = at;
    const near = at === null || !scale ? null : nearest(points, at);
    const [cross, spot] = [drawing.querySelector(".cross"), drawing.querySelector(".spot")];
    tip.hidden = near === null;
    cross?.setAttribute("visibility", near ? "visible" : "hidden");
    spot?.setAttribute("visibility", near && near[1] !== null ? "visible" : "hidden");
    if (!near) return;
    const x = scale.x(near[0]);
    for (const name of ["x1", "x2"]) cross.setAttribute(name, x);
    spot.setAttribute("cx", x);
    spot.setAttribute("cy", scale.y(near[1] ?? 0));
    tip.replaceChildren(h("b", {}, near[1] === null ? text.noValue : write(near[1])), ` ${stamp(near[0])}`);
    const most = drawing.clientWidth - tip.offsetWidth;
    tip.style.left = `${Math.max(0, Math.min(most, x - tip.offsetWidth / 2))}px`;
  }

  drawing.addEventListener("pointermove", (event) => pointAll(scale?.at(event.offsetX) ?? null));
  drawing.addEventListener("pointerleave", () => pointAll(null));
  drawing.addEventListener("blur", () => pointAll(null));
  drawing.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !points.length) return;
    event.preventDefault();
    const here = pointed === null ? points.length : points.indexOf(nearest(points, pointed));
    pointAll(points[Math.max(0, Math.min(points.length - 1, here + step))][0]);
  });
  const sized = new ResizeObserver(draw);
  sized.observe(drawing);
  const unzone = onZone(draw);
  const mine = { point };
  charts.add(mine);

  return {
    element,
    /** Show these samples. */
    update(samples) {
      points = samples.map((sample) => [Date.parse(sample.at), read(sample) ?? null]);
      const newest = points.at(-1)?.[1] ?? null;
      const most = Math.max(0, ...points.map(([, value]) => value ?? 0));
      figure.textContent = newest === null ? "–" : write(newest);
      drawing.setAttribute("aria-label", text.chartOf(title, figure.textContent, write(most)));
      draw();
    },
    close() {
      sized.disconnect();
      unzone();
      charts.delete(mine);
    },
  };
}

function nearest(points, at) {
  let best = null;
  for (const one of points) if (!best || Math.abs(one[0] - at) < Math.abs(best[0] - at)) best = one;
  return best;
}
