// Handing dead letters to their listeners again, and finding out what came of it.

import { pause } from "../shared/api.js";
import { h } from "./dom.js";
import { count } from "./figures.js";
import { send } from "./session.js";
import { text } from "./text.js";

// The service reads up to 200 ids in one request.
export const PIECE = 100;
const LOOK_MS = 700;
const LOOKS = 40;

/** Ask until nothing is left of what was there when it began; returns the ids of what was noted of it. */
export async function replay(selections, seen) {
  const until = new Date().toISOString();
  const actions = [];
  let done = 0;
  for (const selection of selections) {
    for (;;) {
      const { replayed, action } = await send("POST", "/ops/failures/replay", { ...selection, until, most: PIECE });
      if (!replayed) break;
      actions.push(action);
      done += replayed;
      seen(done);
    }
  }
  return { actions, done };
}

/** Give up what is selected: it counts no more. Returns how many. */
export async function giveUp(selections) {
  let done = 0;
  for (const selection of selections) {
    done += (await send("POST", "/ops/failures/acknowledge", { ...selection, most: PIECE })).acknowledged;
  }
  return done;
}

async function outcomes(actions) {
  const all = { applied: 0, waiting: 0, failedAgain: 0 };
  for (let start = 0; start < actions.length; start += PIECE) {
    const ids = actions.slice(start, start + PIECE).join(",");
    const found = await send("GET", `/ops/failures/outcome?actions=${ids}`);
    for (const name of Object.keys(all)) all[name] += found[name];
  }
  return all;
}

/** Look at what was handed over until nothing of it waits; `show(element, settled)` shows each look. */
export async function followOutcome({ actions, done }, show, still) {
  let before = "";
  for (let look = 0; look < LOOKS && still(); look += 1) {
    const found = await outcomes(actions);
    const words = text.outcome(count(done), count(found.applied), count(found.failedAgain), count(found.waiting));
    const bad = found.failedAgain > 0;
    // Every change is one of the list, too.
    show(h("p", { className: bad ? "result bad" : "result good" }, words), words !== before);
    before = words;
    if (!found.waiting) return;
    await pause(LOOK_MS);
  }
}
