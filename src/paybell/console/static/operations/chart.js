// Small charts of a quarter of an hour: SVG lines, nothing else.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 48;
const SPAN_MS = 15 * 60 * 1000;

function node(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** Make a card; `update(samples)` shows them. `series` reads a number, or null, of a sample; the first in figures. */
export function card({ title, series, write, words }) {
  const element = document.createElement("article");
  element.className = "card";
  const [heading, figure, svg, foot] = [
    document.createElement("h3"),
    document.createElement("div"),
    node("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }),
    document.createElement("p"),
  ];
  heading.textContent = title;
  figure.className = "number";
  element.append(heading, figure, svg, foot);
  const lines = series.map((_, index) => node("polyline", { class: index ? "line second" : "line" }));
  svg.append(node("line", { class: "base", x1: 0, x2: WIDTH, y1: HEIGHT - 1, y2: HEIGHT - 1 }), ...lines);
  const [left, middle, right] = [words.ago, "", words.present].map((text) =>
    Object.assign(document.createElement("span"), { textContent: text }),
  );
  foot.append(left, middle, right);

  function update(samples) {
    const newest = samples.at(-1);
    const end = newest ? Date.parse(newest.at) : 0;
    const values = samples.flatMap((sample) => series.map((read) => read(sample) ?? 0));
    const most = Math.max(...values, 0);
    for (const [index, line] of lines.entries()) {
      line.setAttribute("points", points(samples, series[index], end, most));
    }
    middle.textContent = most > 0 ? words.most(write(most)) : "";
    const latest = newest ? series.map((read) => read(newest)) : [null];
    figure.replaceChildren(latest[0] === null || latest[0] === undefined ? "–" : write(latest[0]));
    if (latest.length > 1 && latest[1] != null) {
      figure.append(Object.assign(document.createElement("small"), { textContent: `p99 ${write(latest[1])}` }));
    }
  }
  return { element, update };
}

function points(samples, read, end, most) {
  return samples
    .filter((sample) => read(sample) != null)
    .map((sample) => {
      const x = WIDTH * (1 - (end - Date.parse(sample.at)) / SPAN_MS);
      const y = HEIGHT - 2 - (most ? (read(sample) / most) * (HEIGHT - 4) : 0);
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    })
    .join(" ");
}
