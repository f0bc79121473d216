// The cashier page: one order, its payment, and the moment the shop knows of it.
//
// phase: loading → open → paying → paid → confirmed; confirming is a payment by a remote wallet of which nobody
// knows yet; refunded and returned are of money that went back; closed and failed are ends without a payment.
// The service is the judge of everything: a second click, a second tab or the back button ask for the same
// payment again and get the same answer. While it is away the page goes on asking, and is as it was when it is
// back.

import { $, chooseLanguage, follow, insist, locale, money, Refusal } from "../shared/api.js";
import { choose, keepAsking, readAttempts, second } from "./attempts.js";
import { asks, firstChannel, isPaidElsewhere, moving } from "./methods.js";
import { fail, now, show, state, stillAsking } from "./state.js";
import { duration, isReady, isShort, isUsable, offerReturn, translate } from "./view.js";

const orderId = decodeURIComponent(location.pathname.split("/").pop());
const path = `/orders/${encodeURIComponent(orderId)}`;
const FAILED = {
  wallet_not_found: "noWallet",
  not_the_payer: "stranger",
  not_the_buyer: "stranger",
  not_the_owner: "stranger",
  order_not_found: "missing",
  invalid_id: "missing",
};
let following = false;

/** Say what keeps the buyer from paying now, as far as it is known before trying. */
function obstacle() {
  if (state.lockedUntil) return { mild: false, message: locked };
  if (!state.methods.length) return { mild: true, message: (text) => text.noMethod };
  if (state.noWallet) return { mild: true, message: (text) => text.noWallet };
  if (!isShort(state)) return { mild: false, message: null };
  const missing = () => money(state.order.totalFee - state.balance, state.order.currency);
  return { mild: true, message: (text) => text.short(missing()) };
}

function locked(text) {
  const time = new Date(state.lockedUntil - state.clockOffset);
  return text.locked(time.toLocaleTimeString(locale(), { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }));
}

// What the service says ----------------------------------------------------------------------------

const read = (what) => insist("GET", what, undefined, stillAsking);

/** Read where the payment stands; the page is then as if it had just been opened. */
async function load() {
  try {
    const order = await read(path);
    Object.assign(state, { order, away: false });
    if (order.status !== "UNPAID") return await end(order);
    if (!order.payOrderId) return fail((text) => text.unprepared, { mild: true, retry: true });
    state.payOrder = await read(`/pay-orders/${order.payOrderId}`);
    state.away = false;
    if (state.payOrder.status === "TRADE_CLOSED") return close();
    if (state.payOrder.status === "TRADE_SUCCESS") show({ phase: "paid", message: null });
    else {
      await open();
      const channel = firstChannel(state);
      if (channel) await choose(channel, refuse);
    }
    return await watch();
  } catch (error) {
    return refuse(error);
  }
}

/** Offer the order to be paid; `message`: what is said of it instead of what keeps it from that. */
async function open(message = null) {
  const id = state.payOrder.id;
  const [{ methods }] = await Promise.all([read(`/pay-orders/${id}/methods`), readAttempts()]);
  state.methods = methods;
  if (state.attempts.some(moving)) return confirming();
  if (methods.some((one) => one.asks === "pay_password")) await readWallet();
  show({ phase: "open", away: false, ...obstacle(), ...(message && { message, mild: false }) });
  tick();
}

async function readWallet() {
  const { buyerId, currency } = state.order;
  try {
    const wallet = await read(`/wallets/${encodeURIComponent(buyerId)}?currency=${currency}`);
    state.balance = wallet.balance;
    state.lockedUntil = wallet.lockedUntil ? Date.parse(wallet.lockedUntil) : 0;
    state.noWallet = false;
  } catch (error) {
    // Whoever has no balance here may pay by another method, where there is one.
    if (error.code !== "wallet_not_found" || state.methods.length < 2) throw error;
    state.noWallet = true;
  }
}

const confirming = () => show({ phase: "confirming", message: null, away: false, window: null });

/** Follow the order until it has come to an end. */
async function watch() {
  if (following) return;
  following = true;
  try {
    await follow(`${path}/events`, onEvent, (error) => (error.status === 429 ? null : stillAsking()));
  } finally {
    following = false;
  }
}

function onEvent(_name, news) {
  state.clockOffset = Date.parse(news.now) - Date.now();
  if (state.away) show({ away: false });
  if (news.order.status === "UNPAID") return true;
  end(news.order).catch(refuse);
  return false;
}

/** Show an order that can change no more by anything this page does. */
async function end(order) {
  Object.assign(state, { order, digits: "", walletPassword: "", away: false, retry: false, lockedUntil: 0 });
  if (order.payOrderId && isPaidElsewhere()) {
    state.payOrder ??= { id: order.payOrderId };
    await readAttempts();
  }
  if (order.status === "PAID") return confirmed();
  if (order.status !== "CANCELLED") return show({ phase: "refunded", message: second, mild: true });
  if (order.paidAt) return show({ phase: "returned", message: second, mild: true });
  if (order.payOrderId) state.payOrder = await read(`/pay-orders/${order.payOrderId}`);
  return state.payOrder?.status === "TRADE_SUCCESS"
    ? show({ phase: "returned", message: second, mild: true })
    : close();
}

function confirmed() {
  show({ phase: "confirmed", message: second, mild: true });
  if (performance.getEntriesByName("paybell.pay").length) {
    performance.measure("paybell.confirmed", "paybell.pay"); // click to confirmed, for whoever measures
  }
}

/** Nothing was paid and nothing will be: the time ran out, or somebody closed it before. */
function close() {
  const { expiresAt, closedAt } = state.payOrder ?? {};
  const expired = expiresAt && (closedAt ? Date.parse(closedAt) : now()) >= Date.parse(expiresAt);
  const message = (text) => second(text) || (expired ? text.expired : text.cancelled);
  show({ phase: "closed", message, mild: false, away: false, digits: "", walletPassword: "", lockedUntil: 0 });
}

async function pay() {
  if (!isReady(state)) return;
  performance.mark("paybell.pay");
  const body = { payPassword: asks(state) === "wallet_password" ? state.walletPassword : state.digits };
  show({ phase: "paying", message: null, digits: "", walletPassword: "" });
  try {
    const payOrder = await insist("POST", `/pay-orders/${state.payOrder.id}/pay`, body, stillAsking);
    // The order's news may be here before. Where the money comes from elsewhere the outcome may not be known yet.
    if (state.phase !== "paying") return;
    if (payOrder.status !== "TRADE_SUCCESS") return confirming();
    show({ phase: "paid", payOrder, message: null, away: false });
  } catch (error) {
    if (state.phase === "paying") await refuse(error).catch(refuse);
  }
}

/** Say why not, and what can be done. */
async function refuse(error) {
  if (!(error instanceof Refusal)) throw error;
  const { problem, code, status } = error;
  state.away = false;
  if (code === "attempt_not_final") return confirming();
  if (code === "already_paid") return load();
  if (code === "pay_order_closed") return end({ ...state.order, status: "CANCELLED" }).catch(refuse);
  if (asks(state) === "pay_password" && refuseDigits(code, problem)) return;
  if (status === 401) return fail((text) => text.token);
  const told = () => error.message;
  if (code in FAILED && asks(state) !== "wallet_password")
    return fail((text) => text[FAILED[code]], { mild: true, retry: code === "wallet_not_found" });
  return state.payOrder ? show({ phase: "open", message: told, mild: false }) : fail(told, { retry: true });
}

/** Say what is wrong with the six digits, or with the balance; returns whether it was that. */
function refuseDigits(code, problem) {
  if (code === "insufficient_balance") open().catch(refuse);
  else if (code === "wrong_pay_password" || code === "pay_password_locked") {
    state.lockedUntil = problem.lockedUntil ? Date.parse(problem.lockedUntil) : 0;
    const message = state.lockedUntil ? locked : (text) => text.wrong(problem.triesLeft);
    show({ phase: "open", mild: false, message });
    tick();
    shake();
  } else return false;
  return true;
}

function shake() {
  const boxes = document.querySelector(".boxes");
  boxes.classList.remove("wrong");
  requestAnimationFrame(() => boxes.classList.add("wrong"));
}

// What passes by itself ----------------------------------------------------------------------------

function tick() {
  if (state.lockedUntil) {
    $("again").textContent = duration(state.lockedUntil - now());
    if (now() >= state.lockedUntil) {
      state.lockedUntil = 0;
      if (state.method !== "balance") return show({});
      show(isShort(state) ? obstacle() : { message: (text) => text.unlocked, mild: true });
    }
  }
  if ($("clock").hidden) return;
  const left = Date.parse(state.payOrder.expiresAt) - now();
  if (left <= 0 && state.phase === "open") return close();
  $("left").textContent = duration(left);
  $("clock").classList.toggle("short", left < 60_000);
}

// What the buyer does ------------------------------------------------------------------------------

function press(key) {
  if (!isUsable(state)) return;
  const digits = key === "clear" ? "" : key === "back" ? state.digits.slice(0, -1) : (state.digits + key).slice(0, 6);
  show({ digits });
}

$("pad").addEventListener("click", ({ target }) => {
  const key = target.closest("button");
  if (key) press(key.dataset.key ?? key.textContent);
});
$("password").addEventListener("input", ({ target }) => show({ digits: target.value.replace(/\D/g, "").slice(0, 6) }));
$("walletPassword").addEventListener("input", ({ target }) => show({ walletPassword: target.value }));
$("methods").addEventListener("click", ({ target }) => {
  const { method } = target.closest("button")?.dataset ?? {};
  if (!method || (method === state.method && state.window)) return;
  choose(method, refuse);
  if (state.phase === "open" && method === "balance") show(obstacle());
});
$("instead").addEventListener("click", () => choose("alipay_page", refuse));
$("reopen").addEventListener("click", () => choose(state.method, refuse));
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  pay();
});
// Digits count wherever the focus is, so that nobody has to find the field first.
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^[0-9]$/.test(event.key)) press(event.key);
  else if (event.key === "Backspace") press("back");
});
$("refresh").addEventListener("click", () => open().catch(refuse));
$("retry").addEventListener("click", () => {
  show({ phase: "loading", message: null, retry: false });
  load();
});
$("print").addEventListener("click", () => print());
document.querySelector(".languages").addEventListener("click", ({ target }) => {
  const { language: tag } = target.closest("button")?.dataset ?? {};
  if (!tag) return;
  chooseLanguage(tag);
  translate();
  show({});
});
addEventListener("pageshow", (event) => {
  if (event.persisted) load(); // back from another page: as the service sees it, not as it was left
});

translate();
offerReturn();
show({});
setInterval(tick, 500);
load();
keepAsking({ open, refuse });
