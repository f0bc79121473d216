// Paying by a channel: a window in which the buyer pays elsewhere, and what has become of it.

import { insist, money, pause, send } from "../shared/api.js";
import { isLive, moving, nameOf, sentBack } from "./methods.js";
import { show, state, stillAsking } from "./state.js";

// The service asks the channel that often while somebody looks.
const ASK_MS = 3000;
const ENDED = new Set(["paid", "confirmed", "refunded", "returned", "closed"]);

const path = () => `/pay-orders/${state.payOrder.id}/attempts`;
const isShown = ({ attemptId }) => attemptId === state.window?.attemptId;

/** Learn what was tried. */
export async function readAttempts() {
  const { attempts } = await insist("GET", path(), undefined, stillAsking);
  state.attempts = attempts;
}

/** Say that money which came twice, or too late, goes back; nothing where none did. */
export function second(text) {
  const back = sentBack(state);
  const sentence = state.phase === "closed" ? text.late : text.twice;
  return back ? sentence(money(back.amount, back.currency), nameOf(back.channel, text)) : "";
}

/** Pay by this method from now on. Choosing a channel opens its window; the service closes another one first. */
export async function choose(method, refuse) {
  if (state.phase !== "open") return;
  const asksNothing = state.methods.some((one) => one.channel === method && one.asks === "nothing");
  show({ method, window: null, message: null, digits: "", walletPassword: "" });
  if (!asksNothing) return;
  try {
    const opened = await insist("POST", path(), { channel: method }, stillAsking);
    if (state.method !== method || state.phase !== "open") return;
    state.attempts = [...state.attempts.filter((one) => one.attemptId !== opened.attemptId), opened];
    show({ window: opened, away: false });
  } catch (error) {
    if (state.method === method && state.phase === "open") await refuse(error);
  }
}

/** Ask what has become of attempts for as long as that may change something here. */
export async function keepAsking({ open, refuse }) {
  for (;;) {
    await pause(ASK_MS);
    if (!isWorthAsking()) continue;
    try {
      state.attempts = (await send("GET", path())).attempts;
      await learn(open, refuse);
    } catch (error) {
      console.debug(error); // the order's own news says whether the service is away
    }
  }
}

function isWorthAsking() {
  if (state.phase === "open") return state.window !== null;
  return state.phase === "confirming" || (ENDED.has(state.phase) && state.attempts.some(isLive));
}

async function learn(open, refuse) {
  if (state.phase === "confirming" && !state.attempts.some(moving)) {
    if (!state.attempts.some((one) => one.state === "SUCCEEDED")) await open((text) => text.notPaid).catch(refuse);
  } else if (state.phase === "open") {
    const shown = state.attempts.find(isShown);
    if (shown && !isLive(shown))
      show({ window: null, mild: true, message: (text) => second(text) || text.windowClosed });
    else if (shown && !state.window.qrCode && !state.window.redirectUrl) await choose(state.method, refuse);
  } else show({});
}
