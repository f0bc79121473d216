// What the cashier page knows, and the one way to change it.

import { draw } from "./view.js";

export const state = {
  phase: "loading",
  order: null,
  payOrder: null,
  methods: [], // by which the order may be paid, as the service offers them
  method: "balance",
  attempts: [], // what was tried to pay it by other channels than a balance of ours
  window: null, // the attempt that is shown: a code to scan or a page to go to
  balance: null,
  noWallet: false,
  message: null, // makes a sentence of the texts of a language
  mild: false,
  retry: false,
  away: false,
  digits: "",
  walletPassword: "",
  lockedUntil: 0, // by the service's clock, as everything that is compared with a time
  clockOffset: 0,
};

export const now = () => Date.now() + state.clockOffset;

export function show(changes) {
  draw(Object.assign(state, changes));
}

export function fail(message, { mild = false, retry = false } = {}) {
  show({ phase: "failed", message, mild, retry, away: false, digits: "" });
}

/** The service does not answer, and is asked again. */
export function stillAsking() {
  if (!ENDS.has(state.phase) && !state.away) show({ away: true });
}
const ENDS = new Set(["confirmed", "refunded", "returned", "closed", "failed"]);
