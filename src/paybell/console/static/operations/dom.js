// Elements, made by hand: what a rendering library would do here, in the lines below.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, given, children) {
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !(element instanceof SVGElement)) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Make an element. `onclick` and the like listen; null, undefined and false, given or as children, are left out. */
export const h = (name, given = {}, ...children) => fill(document.createElement(name), given, children);

/** Make an element of a drawing. */
export const s = (name, given = {}, ...children) => fill(document.createElementNS(SVG, name), given, children);

function become(there, wanted) {
  if (there.nodeName !== wanted.nodeName) {
    there.replaceWith(wanted);
    return;
  }
  if (there.nodeType === Node.TEXT_NODE) {
    if (there.data !== wanted.data) there.data = wanted.data;
    return;
  }
  for (const { name } of [...there.attributes]) if (!wanted.hasAttribute(name)) there.removeAttribute(name);
  for (const { name, value } of wanted.attributes)
    if (there.getAttribute(name) !== value) there.setAttribute(name, value);
  refresh(there, ...wanted.childNodes);
}

/** Show these in a place. What is there stays and is only changed: it may be under the pointer, or have the focus. */
export function refresh(place, ...wanted) {
  const there = [...place.childNodes];
  for (const [index, one] of wanted.entries())
    if (index < there.length) become(there[index], one);
    else place.append(one);
  for (const gone of there.slice(wanted.length)) gone.remove();
}

const ICONS = {
  now: "M3 12h4l2.5-6 4 12L16 12h5",
  payments: "M3 7h18v11H3zM3 11h18M7 15h3",
  attempts: "M12 3a9 9 0 1 0 0.01 0M9.5 9.5a2.5 2.5 0 1 1 3.6 2.3c-.8.4-1.1.9-1.1 1.7M12 16.5v.5",
  dead: "M4 6h16v12H4zM4 7l8 6 8-6M15 15l4 4M19 15l-4 4",
  books: "M12 4v16M6 20h12M5 8h14M5 8l-3 6h6zM19 8l-3 6h6z",
  audit: "M6 3h9l4 4v14H6zM9 11h7M9 15h7M9 7h3",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  done: "M5 13l4 4L19 7",
  menu: "M4 7h16M4 12h16M4 17h16",
};

/** Draw one of the console's signs, for the eye alone. */
export const icon = (name) =>
  s("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, s("path", { d: ICONS[name] }));

/** Make a table; `columns` are `[heading, class]`, `rows` arrays of cells or ready rows. */
export function table(columns, rows, empty, label) {
  const cells = (row) => row.map((cell, index) => h("td", { className: columns[index][1] ?? "" }, cell));
  const lines = rows.map((row) => (row instanceof Element ? row : h("tr", {}, cells(row))));
  const nothing = h("tr", {}, h("td", { className: "empty", colSpan: columns.length }, empty));
  return h(
    "div",
    { className: "scroll", tabIndex: 0, role: "region", "aria-label": label },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          columns.map(([name, kind]) => h("th", { className: kind ?? "", scope: "col" }, name)),
        ),
      ),
      h("tbody", {}, lines.length ? lines : nothing),
    ),
  );
}
