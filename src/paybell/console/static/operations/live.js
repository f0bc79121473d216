// The stream of samples: what is known now, and whether it is still true.

import { follow } from "../shared/api.js";
import { judge, onStanding, standing } from "./session.js";

const KEPT = 450;
// A sample comes every two seconds; after three that did not come nobody calls the last one "now".
const SILENCE_MS = 7_000;
const LOOK_MS = 1_000;

const listeners = new Set();

/** `connecting`, `live`, `lost` (what is shown is old) or `shut` (the token is not accepted). */
export const live = { state: "connecting", samples: [], newest: null };

let receivedAt = performance.now();

/** Call back now and with each sample or change of state; returns what ends that. */
export function onLive(callback) {
  listeners.add(callback);
  callback();
  return () => listeners.delete(callback);
}

function setState(state) {
  live.state = state;
  for (const callback of listeners) callback();
}

function onEvent(name, data) {
  // The service ends no stream because a token has expired; but nobody should go on reading with it.
  if (standing !== "ok") return false;
  live.samples = name === "history" ? data : [...live.samples, data].slice(-KEPT);
  live.newest = live.samples.at(-1) ?? null;
  receivedAt = performance.now();
  setState("live");
  return true;
}

function look() {
  const silent = performance.now() - receivedAt > SILENCE_MS;
  if (silent && standing === "ok" && (live.state === "live" || live.state === "connecting")) setState("lost");
}

/** Follow the stream for as long as the page is open. */
export async function watch() {
  const timer = setInterval(look, LOOK_MS);
  onStanding(() => setState("shut"));
  try {
    await follow("/ops/now", onEvent, () => setState("lost"));
  } catch (error) {
    judge(error);
    setState("shut");
  } finally {
    clearInterval(timer);
  }
}
