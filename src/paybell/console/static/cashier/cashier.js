// The cashier page: one order, its payment, and the moment the shop knows of it.
//
// phase: loading → open → paying → paid → confirmed; closed and failed are ends without a payment.
// The service is the judge of everything: a second click, a second tab or the back button ask for the
// same payment again and get the same answer.

import { $, follow, insist, language, money, Refusal } from "../shared/api.js";
import { texts } from "./cashier-text.js";

const text = texts[language];
const orderId = decodeURIComponent(location.pathname.split("/").pop());
const state = {
  phase: "loading",
  order: null,
  payOrder: null,
  balance: null,
  message: "",
  mild: false,
  digits: "",
  lockedUntil: 0,
  clockOffset: 0,
};
const ENDS = new Set(["confirmed", "closed", "failed"]);

// What is shown ------------------------------------------------------------------------------------

function show(changes) {
  Object.assign(state, changes);
  const { phase, order, payOrder } = state;
  $("card").dataset.phase = phase;
  $("message").textContent = state.message;
  $("message").classList.toggle("mild", state.mild);
  if (order) showBill(order);
  showSteps(order ? (["open", "paying", "closed", "loading"].includes(phase) ? 1 : phase === "paid" ? 2 : 3) : 0);
  $("form").hidden = !["open", "paying"].includes(phase);
  $("clock").hidden = $("form").hidden || !payOrder;
  showForm();
  showResult();
}

function showBill(order) {
  const amount = money(order.totalFee, order.currency);
  $("subject").textContent = order.subject || text.untitled;
  $("amount").textContent = amount;
  $("order").textContent = order.id;
  document.title = `${text.title} ${amount} · Paybell`;
}

function showSteps(done) {
  $("steps").hidden = done === 0 || ["closed", "failed"].includes(state.phase);
  [...$("steps").children].forEach((step, index) => {
    step.classList.toggle("done", index < done);
    step.toggleAttribute("aria-current", index === done - 1);
  });
}

function showForm() {
  const { order, balance, digits, phase } = state;
  if (!order) return;
  const usable = phase === "open" && Date.now() >= state.lockedUntil && !isShort();
  $("balance").textContent = balance === null ? "…" : money(balance, order.currency);
  $("refresh").hidden = !isShort();
  $("password").value = digits;
  $("password").disabled = !usable;
  for (const key of $("pad").children) key.disabled = !usable;
  [...document.querySelectorAll(".boxes span")].forEach((box, index) => {
    box.classList.toggle("filled", index < digits.length);
  });
  $("pay").disabled = !usable || digits.length !== 6;
  $("pay").textContent = phase === "paying" ? text.paying : text.pay(money(order.totalFee, order.currency));
}

function showResult() {
  const { phase, order } = state;
  const lines =
    phase === "paid"
      ? [text.paidTitle, text.paidText]
      : phase === "confirmed"
        ? [text.confirmedTitle, text.confirmedText(money(order.totalFee, order.currency))]
        : null;
  if (!lines) return $("result").replaceChildren();
  const [title, detail] = [document.createElement("b"), document.createElement("p")];
  [title.textContent, detail.textContent] = lines;
  return $("result").replaceChildren(title, detail);
}

function showClock() {
  if ($("clock").hidden) return;
  const seconds = Math.ceil((Date.parse(state.payOrder.expiresAt) - Date.now() - state.clockOffset) / 1000);
  if (seconds <= 0 && state.phase === "open") {
    show({ phase: "closed", message: text.expired, digits: "" });
    return;
  }
  const parts = [seconds / 3600, (seconds / 60) % 60, seconds % 60].map((part) => Math.max(0, Math.floor(part)));
  const [hours, ...rest] = parts.map((part) => String(part).padStart(2, "0"));
  $("left").textContent = hours === "00" ? rest.join(":") : [hours, ...rest].join(":");
  $("clock").classList.toggle("short", seconds < 60);
  if (state.lockedUntil && Date.now() >= state.lockedUntil) {
    show({ lockedUntil: 0, message: text.unlocked, mild: true });
  }
}

const isShort = () => state.balance !== null && state.balance < state.order.totalFee;

function shortage() {
  return isShort()
    ? { message: text.short(money(state.order.totalFee - state.balance, state.order.currency)), mild: true }
    : { message: "", mild: false };
}

// What the service says ----------------------------------------------------------------------------

/** Read where the payment stands; the page is then as if it had just been opened. */
async function load() {
  try {
    const order = await insist("GET", `/orders/${encodeURIComponent(orderId)}`, undefined, stillAsking);
    state.order = order;
    if (order.status === "PAID") return confirmed(order);
    if (order.status !== "UNPAID") return show({ phase: "closed", message: text.closed, mild: false });
    if (!order.payOrderId) return show({ phase: "failed", message: text.unprepared, mild: true });
    const payOrder = await insist("GET", `/pay-orders/${order.payOrderId}`, undefined, stillAsking);
    state.payOrder = payOrder;
    if (payOrder.status === "TRADE_SUCCESS") return show({ phase: "paid", message: "" });
    if (payOrder.status === "TRADE_CLOSED") return show({ phase: "closed", message: text.expired, mild: false });
    await readBalance();
    show({ phase: "open", ...shortage() });
    showClock();
    $("password").focus();
  } catch (error) {
    refuse(error);
  }
}

function stillAsking() {
  show({ message: text.asking, mild: true });
}

async function readBalance() {
  const { buyerId, currency } = state.order;
  const wallet = await insist("GET", `/wallets/${encodeURIComponent(buyerId)}?currency=${currency}`);
  state.balance = wallet.currency === currency ? wallet.balance : null;
}

function hear(_name, { order, now }) {
  state.clockOffset = Date.parse(now) - Date.now();
  if (order.status === "PAID") confirmed(order);
  else if (order.status !== "UNPAID") show({ phase: "closed", message: text.closed, mild: false, digits: "" });
  return order.status === "UNPAID";
}

function confirmed(order) {
  show({ phase: "confirmed", order, message: "", digits: "" });
  if (performance.getEntriesByName("paybell.pay").length) {
    performance.measure("paybell.confirmed", "paybell.pay"); // click to confirmed, for whoever measures
  }
}

async function pay() {
  if (state.phase !== "open" || state.digits.length !== 6) return;
  performance.mark("paybell.pay");
  const body = { payPassword: state.digits };
  show({ phase: "paying", message: "", digits: "" });
  try {
    await insist("POST", `/pay-orders/${state.payOrder.id}/pay`, body, stillAsking);
    if (!ENDS.has(state.phase)) show({ phase: "paid", message: "" }); // the order's news may be here before
  } catch (error) {
    if (!ENDS.has(state.phase)) refuse(error);
  }
}

/** Say why not, and what can be done. */
function refuse(error) {
  if (!(error instanceof Refusal)) {
    show(
      state.order
        ? { phase: "open", message: text.unknown, mild: true }
        : { phase: "failed", message: text.asking, mild: true },
    );
    return;
  }
  const { problem } = error;
  switch (error.code) {
    case "wrong_pay_password":
      if (problem.lockedUntil) showLock(problem.lockedUntil);
      else show({ phase: "open", mild: false, message: text.wrong(problem.triesLeft) });
      shake();
      break;
    case "pay_password_locked":
      showLock(problem.lockedUntil);
      break;
    case "insufficient_balance":
      readBalance()
        .catch(() => {})
        .then(() => show({ phase: "open", message: error.message, mild: true, ...(isShort() ? shortage() : {}) }));
      break;
    case "pay_order_closed":
      show({ phase: "closed", message: text.expired, mild: false });
      break;
    case "wallet_not_found":
      show({ phase: "failed", message: text.noWallet, mild: true });
      break;
    case "not_authenticated":
      show({ phase: "failed", message: text.token, mild: false });
      break;
    case "not_the_payer":
    case "not_the_buyer":
    case "not_the_owner":
      show({ phase: "failed", message: text.stranger, mild: false });
      break;
    case "order_not_found":
    case "invalid_id":
      show({ phase: "failed", message: text.missing, mild: false });
      break;
    case "outcome_unknown":
      show({ phase: "open", message: text.unknown, mild: true });
      break;
    default:
      show({ phase: state.payOrder ? "open" : "failed", message: error.message, mild: false });
  }
}

function showLock(time) {
  const until = Date.parse(time);
  show({
    phase: "open",
    mild: false,
    lockedUntil: until - state.clockOffset,
    message: text.locked(
      new Date(until).toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }),
    ),
  });
}

function shake() {
  const boxes = document.querySelector(".boxes");
  boxes.classList.remove("wrong");
  requestAnimationFrame(() => boxes.classList.add("wrong"));
  $("password").focus();
}

// What the buyer does ------------------------------------------------------------------------------

function press(key) {
  if ($("password").disabled) return;
  const digits = key === "clear" ? "" : key === "back" ? state.digits.slice(0, -1) : (state.digits + key).slice(0, 6);
  show({ digits });
}

$("pad").addEventListener("click", ({ target }) => {
  const key = target.closest("button");
  if (key) press(key.dataset.key ?? key.textContent);
});
$("password").addEventListener("input", ({ target }) => show({ digits: target.value.replace(/\D/g, "").slice(0, 6) }));
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  pay();
});
// Digits count wherever the focus is, so that nobody has to find the field first.
document.addEventListener("keydown", (event) => {
  if (event.target === $("password") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^[0-9]$/.test(event.key)) press(event.key);
  else if (event.key === "Backspace") press("back");
});
$("refresh").addEventListener("click", async () => {
  try {
    await readBalance();
    show(shortage());
  } catch (error) {
    refuse(error);
  }
});
addEventListener("pageshow", (event) => {
  if (event.persisted) load(); // back from another page: as the service sees it, not as it was left
});

document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
document.title = `${text.title} · Paybell`;
for (const place of document.querySelectorAll("[data-text]")) place.textContent = text[place.dataset.text];
for (const place of document.querySelectorAll("[data-label]")) place.ariaLabel = text[place.dataset.label];
setInterval(showClock, 500);
load().then(() => {
  if (!ENDS.has(state.phase)) follow(`/orders/${encodeURIComponent(orderId)}/events`, hear).catch(refuse);
});
