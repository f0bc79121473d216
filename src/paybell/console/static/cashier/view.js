// What the cashier page shows of its state. It changes the page and nothing else.

import { $, language, locale, money } from "../shared/api.js";
import { texts } from "./cashier-text.js";
import { asks, hasPage, nameOf, paidBy } from "./methods.js";
import { shop } from "./shop.js";

// One of these has the form, the other the result; `closed` and `failed` have a message only.
const FORM = new Set(["loading", "open", "paying"]);
const STEPS = { loading: 0, open: 1, paying: 1, confirming: 1, paid: 2, confirmed: 3 };
const TITLES = {
  confirming: "confirming",
  paid: "paid",
  confirmed: "confirmed",
  refunded: "refunded",
  returned: "returned",
};

export const isShort = ({ balance, order }) => balance !== null && balance < order.totalFee;
/** Whether digits are taken, of a balance of ours. */
export const isUsable = (state) =>
  state.phase === "open" && asks(state) === "pay_password" && !state.lockedUntil && !state.noWallet && !isShort(state);
/** Whether there is a password to pay with. */
export const isReady = (state) =>
  asks(state) === "wallet_password"
    ? state.phase === "open" && state.walletPassword !== ""
    : isUsable(state) && state.digits.length === 6;
export const hasForm = ({ phase }) => FORM.has(phase);

/** Show everything anew. */
export function draw(state) {
  const text = texts[language];
  $("card").dataset.phase = state.phase;
  $("card").ariaBusy = state.phase === "loading";
  if (state.order) drawBill(state, text);
  drawSteps(state);
  drawMessage(state, text);
  drawMethods(state, text);
  drawForm(state, text);
  drawWindow(state, text);
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
  $("hint").textContent = hint(state, text);
  $("notice").hidden = state.phase in TITLES && said === "";
}

const HINTS = { pay_password: "hint", wallet_password: "walletHint" };

function hint(state, text) {
  const asked = asks(state);
  return asked in HINTS
    ? text[HINTS[asked]]
    : text.windowHint[hasPage(state.method) ? "page" : "code"](nameOf(state.method, text));
}

/** Show the methods to choose from; made anew only when they change, so that the focus stays. */
function drawMethods({ methods, method, phase }, text) {
  // Alipay's page is offered beside its code.
  const names = methods.map(({ channel }) => channel);
  const shown = names.filter((one) => one !== "alipay_page" || !names.includes("alipay"));
  const chosen = method === "alipay_page" && !shown.includes(method) ? "alipay" : method;
  if (methods.length) {
    document.body.classList.toggle("more-methods", methods.length > 1);
    if (names.includes("balance"))
      document.body.classList.toggle("remote-wallet", methods[0].asks === "wallet_password");
  }
  if ($("methods").dataset.shown !== shown.join()) {
    $("methods").dataset.shown = shown.join();
    $("methods").replaceChildren(...shown.map(methodButton));
  }
  for (const button of $("methods").children) {
    button.textContent = text.methods[button.dataset.method] ?? button.dataset.method;
    button.ariaPressed = button.dataset.method === chosen;
    button.disabled = phase !== "open";
  }
}

function methodButton(channel) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.method = channel;
  return button;
}

/** Show the code to scan or the way to a channel's page, or the place where it will be. */
function drawWindow(state, text) {
  const { method, methods, window: opened } = state;
  const amount = state.order ? money(state.order.totalFee, state.order.currency) : "";
  const page = opened ? Boolean(opened.redirectUrl) : hasPage(method);
  const failed = !opened && state.message !== null;
  $("window").hidden = !state.methods.length || asks(state) !== "nothing";
  $("code").hidden = page || failed;
  drawCode(opened?.qrImage, text.codeLabel(amount, nameOf(state.method, text)));
  $("leave").hidden = !page || failed;
  $("leave").textContent = text.leave(nameOf(state.method, text), amount);
  if (opened?.redirectUrl) $("leave").href = opened.redirectUrl;
  else $("leave").removeAttribute("href");
  $("instead").hidden = method !== "alipay" || !methods.some(({ channel }) => channel === "alipay_page");
  $("reopen").hidden = !failed;
  $("noticed").hidden = failed;
}

function drawCode(image, label) {
  $("qr").toggleAttribute("hidden", !image);
  if (!image) return;
  $("qr").setAttribute("viewBox", `0 0 ${image.side} ${image.side}`);
  $("qr").setAttribute("aria-label", label);
  $("qr").firstElementChild.setAttribute("d", image.path);
}

function drawForm(state, text) {
  const { order, balance, digits, phase } = state;
  const usable = isUsable(state);
  const ready = isReady(state);
  $("form").hidden = !hasForm(state);
  $("own").classList.toggle("away", asks(state) === "nothing");
  $("walletPassword").value = state.walletPassword;
  $("walletPassword").disabled = phase === "loading";
  $("walletPassword").readOnly = phase === "paying";
  $("clock").hidden = !state.payOrder || !["open", "paying"].includes(phase);
  $("balance").textContent = state.noWallet ? "–" : balance === null ? "…" : money(balance, order.currency);
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
  $("pay").disabled = !ready;
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
  const by = paidBy(state);
  const words = by === "balance" ? "" : nameOf(by, text);
  $("detail").textContent = typeof detail === "string" ? detail : detail(money(amount, order.currency), words);
  $("receipt").hidden = $("print").hidden = phase === "confirming";
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
  const places = ["password", "walletPassword", "lock", "refresh", "result", "retry", "message", "card"].map($);
  places.find((place) => !place.disabled && place.checkVisibility())?.focus({ preventScroll: true });
}
