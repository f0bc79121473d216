// Reading what a page shows: the newest question wins, and an error stands where the answer would.

import { problem } from "./figures.js";

/**
 * Return what reads and draws. What a newer call has overtaken draws nothing, its errors neither.
 * `read()` asks, `draw(found)` shows it; `place` is busy meanwhile, and holds what went wrong.
 */
export function loader(place, read, draw) {
  let newest = null;
  return async function load() {
    const mine = Symbol("load");
    newest = mine;
    place.setAttribute("aria-busy", "true");
    // The next page of what is there is no longer what was asked for.
    for (const pager of place.querySelectorAll(".pager")) pager.inert = true;
    try {
      const found = await read();
      if (newest === mine) draw(found);
    } catch (error) {
      if (newest === mine) place.replaceChildren(problem(error, load));
    } finally {
      if (newest === mine) place.removeAttribute("aria-busy");
    }
  };
}
