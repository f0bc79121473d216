// A list as a file: everything that is filtered, not the page alone.

import { download } from "../shared/api.js";
import { h } from "./dom.js";
import { problem } from "./figures.js";
import { judge } from "./session.js";
import { text } from "./text.js";

/** Make the button; `path()` is what is asked for, `said` the place for what is to be said of it. */
export function csvButton(path, name, said) {
  async function csv() {
    said.replaceChildren();
    try {
      const { blob, more } = await download(path(), "text/csv");
      const url = URL.createObjectURL(blob);
      h("a", { href: url, download: name }).click();
      if (more) said.replaceChildren(h("p", { className: "result good" }, text.csvCut));
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    } catch (error) {
      said.replaceChildren(problem(judge(error), csv));
    }
  }

  return h("button", { type: "button", id: "csv", onclick: csv }, text.csv);
}
