// What the attempts of an order mean to its buyer. Nothing here changes anything.

const LIVE = new Set(["PREPARED", "SENT", "OPEN", "UNKNOWN"]);
/** Whether this installation takes money from elsewhere; the page is served with these classes. */
export const isPaidElsewhere = () => isA("more-methods") || isA("remote-wallet");
const isA = (name) => document.body.classList.contains(name);

// The channels that take the buyer to a page of theirs; the others show a code.
const PAGES = new Set(["stripe", "alipay_page"]);

/** Whether its outcome may still come by itself. */
export const isLive = ({ state }) => LIVE.has(state);
/** Whether money may be moving out of a remote wallet at this moment, so that nothing else may pay. */
export const moving = ({ channel, state }) => channel === "balance" && (LIVE.has(state) || state === "MANUAL");
export const hasPage = (channel) => PAGES.has(channel);
/** What the chosen method asks for; before anything is known, what a balance does in this installation. */
export const asks = ({ methods, method }) =>
  methods.find(({ channel }) => channel === method)?.asks ??
  (isA("remote-wallet") ? "wallet_password" : "pay_password");

/** The channel to show at first: of the window that is open, or the first where no balance is offered. */
export function firstChannel({ attempts, methods }) {
  const offered = (name) => methods.some(({ channel }) => channel === name);
  const open = attempts.findLast((one) => isLive(one) && offered(one.channel))?.channel;
  return open ?? (offered("balance") ? undefined : methods[0]?.channel);
}

/** By which channel an order was paid. */
export const paidBy = ({ attempts }) => attempts.find(({ state }) => state === "SUCCEEDED")?.channel ?? "balance";

/** Money that came twice or late goes back: returns the attempt, or undefined. */
export const sentBack = ({ attempts }) => attempts.findLast(({ state }) => state === "LATE_SUCCESS");

/** What a channel is called within a sentence. */
export const nameOf = (channel, text) => text.names[channel] ?? text.methods[channel] ?? channel;
