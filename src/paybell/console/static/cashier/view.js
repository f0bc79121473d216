// What the cashier page shows of its state. It changes the page and nothing else.

import { $, language, locale, money } from "../shared/api.js";
import { texts } from "./cashier-text.js";
import { shop } from "./shop.js";

// One of these has the form, the other the result; `closed` and `failed` have a message only.
const FORM = new Set(["loading", "open", "paying"]);
const STEPS = { loading: 0, open: 1, paying: 1, paid: 2, confirmed: 3 };
const TITLES = { paid: "paid", confirmed: "confirmed", refunded: "refunded", returned: "returned" };

export const isShort = ({ balance, order }) => balance !== null && balance < order.totalFee;
export const isUsable = (state) => state.phase === "open" && !state.lockedUntil && !isShort(state);
export const hasForm = ({ phase }) => FORM.has(phase);

/** Show everything anew. */
export function draw(state) {
  const text = texts[language];
  $("card").dataset.phase = state.phase;
  $("card").ariaBusy = state.phase === "loading";
  if (state.order) drawBill(state, text);
  drawSteps(state);
  drawMessage(state, text);
  drawForm(state, text);
  drawResult(state, text);
  $("retry").hidden = !state.retry;
  $("close").hidden = hasForm(state) || state.phase === "failed";
  keepFocus();
}

/** Write the words that are the same in every state, in the language of now. */
export function translate() {
  const text = texts[language];
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = `${text.title} · ${shop.name || "Paybell"}`;
  for (const place of document.querySelectorAll("[data-text]")) place.textContent = text[place.dataset.text];
  for (const place of document.querySelectorAll("[data-label]")) place.ariaLabel = text[place.dataset.label];
  for (const button of document.querySelectorAll("[data-language]"))
    button.ariaPressed = button.dataset.language === language;
  $("shop").textContent = shop.name || "Paybell";
  $("help").textContent = text.help(shop.name || text.theShop);
  $("return").textContent = text.backTo(shop.name || text.theShop);
}

/** Offer the way back that the link names, if it leads to an origin that the operator has allowed. */
export function offerReturn() {
  const given = new URLSearchParams(location.search).get("returnUrl");
  const url = given && URL.canParse(given) ? new URL(given) : null;
  const allowed =
    url && shop.returnOrigins.includes(url.origin) && /^https?:$/.test(url.protocol) && !url.username && !url.password;
  if (allowed) $("return").href = url.href;
  else if (given) console.warn("Paybell: returnUrl is at none of PAYBELL_RETURN_ORIGINS, so it is not offered.");
  $("return").hidden = !allowed;
}

function drawBill({ order }, text) {
  const amount = money(order.totalFee, order.currency);
  $("subject").textContent = order.subject || text.untitled;
  $("amount").textContent = amount;
  $("order").textContent = order.id;
  document.title = `${text.title} ${amount} · ${shop.name || "Paybell"}`;
}

function drawSteps({ phase }) {
  const done = STEPS[phase] ?? 0;
  [...$("steps").children].forEach((step, index) => {
    step.classList.toggle("done", index < done);
    step.toggleAttribute("aria-current", index === done - 1);
  });
}

function drawMessage(state, text) {
  const said = state.away ? text.asking : (state.message?.(text) ?? "");
  // An alert is read aloud whenever it is written, so the same one is not written again.
  if ($("message").textContent !== said) $("message").textContent = said;
  $("message").classList.toggle("mild", state.away || state.mild);
  $("hint").hidden = said !== "" || !hasForm(state);
  $("notice").hidden = state.phase in TITLES && said === "";
}

function drawForm(state, text) {
  const { order, balance, digits, phase } = state;
  const usable = isUsable(state);
  $("form").hidden = !hasForm(state);
  $("clock").hidden = !state.payOrder || !["open", "paying"].includes(phase);
  $("balance").textContent = balance === null ? "…" : money(balance, order.currency);
  $("refresh").hidden = balance === null || !isShort(state);
  $("password").value = digits;
  // While paying it keeps the focus and takes nothing.
  $("password").disabled = !usable && phase !== "paying";
  $("password").readOnly = phase === "paying";
  for (const key of $("pad").children) key.disabled = !usable;
  $("keys").classList.toggle("away", Boolean(state.lockedUntil));
  $("lock").hidden = !state.lockedUntil;
  [...document.querySelectorAll(".boxes span")].forEach((box, index) => {
    box.classList.toggle("filled", index < digits.length);
    box.classList.toggle("next", usable && index === digits.length);
  });
  $("pay").disabled = !usable || digits.length !== 6;
  $("pay").textContent =
    phase === "paying" ? text.paying : order ? text.pay(money(order.totalFee, order.currency)) : text.title;
}

function drawResult(state, text) {
  const { phase, order } = state;
  $("result").hidden = !(phase in TITLES);
  if ($("result").hidden) return;
  const refunded = phase === "returned" && order.refundedAmount === order.totalFee ? "refunded" : phase;
  const amount = refunded === "refunded" ? order.refundedAmount : order.totalFee;
  $("outcome").textContent = text[`${TITLES[phase]}Title`];
  const detail = text[`${TITLES[refunded]}Text`];
  $("detail").textContent = typeof detail === "string" ? detail : detail(money(amount, order.currency));
  $("receipt").replaceChildren(
    ...receipt(state, text).flatMap(([name, value]) => [cell("dt", name), cell("dd", value)]),
  );
}

/** Return what was paid, to whom, when and by whom: pairs of a name and a text. */
function receipt({ order, payOrder }, text) {
  const names = text.receipt;
  const paidAt = order.paidAt ?? payOrder?.succeededAt;
  return [
    [names.shop, shop.name],
    [names.subject, order.subject],
    [names.amount, money(order.totalFee, order.currency)],
    [names.refunded, order.refundedAmount ? money(order.refundedAmount, order.currency) : ""],
    [names.paidAt, paidAt ? moment(paidAt) : ""],
    [names.order, order.id],
    [names.payOrder, order.payOrderId],
    [names.payer, order.buyerId],
  ].filter(([, value]) => value);
}

/** Write a time with its date and zone, where the reader is. */
const moment = (time) =>
  new Intl.DateTimeFormat(locale(), { dateStyle: "medium", timeStyle: "long" }).format(new Date(time));

function cell(kind, value) {
  const made = document.createElement(kind);
  made.textContent = value;
  return made;
}

/** Write hours (where there are some), minutes and seconds. */
export function duration(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  const parts = [seconds / 3600, (seconds / 60) % 60, seconds % 60].map(Math.floor);
  const [hours, ...rest] = parts.map((part) => String(part).padStart(2, "0"));
  return hours === "00" ? rest.join(":") : [hours, ...rest].join(":");
}

/** Where what had the focus is gone, it goes to what can be done next, never back to the top of the page. */
function keepFocus() {
  const active = document.activeElement;
  const kept = active !== document.body && active !== $("card") && !active.disabled && active.checkVisibility();
  if (kept) return;
  const places = ["password", "lock", "refresh", "result", "retry", "message", "card"].map($);
  places.find((place) => !place.disabled && place.checkVisibility())?.focus({ preventScroll: true });
}
