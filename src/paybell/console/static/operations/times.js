// Moments, in one zone on the whole console: the browser's or UTC, as the operator chose last.

import { h } from "./dom.js";

const KEY = "paybell.zone";
const listeners = new Set();
let utc = localStorage.getItem(KEY) === "UTC";

export const inUtc = () => utc;

/** Show every moment in UTC, or in the zone of this machine, from now on. */
export function chooseUtc(chosen) {
  utc = chosen;
  localStorage.setItem(KEY, utc ? "UTC" : "local");
  for (const element of document.querySelectorAll("time")) write(element);
  for (const callback of listeners) callback();
}

/** Call back when the zone changes; returns what ends that. */
export function onZone(callback) {
  listeners.add(callback);
  return () => listeners.delete(callback);
}

function parts(at) {
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone: utc ? "UTC" : undefined,
    hourCycle: "h23",
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    fractionalSecondDigits: 3,
    timeZoneName: "shortOffset",
  });
  return Object.fromEntries(format.formatToParts(new Date(at)).map(({ type, value }) => [type, value]));
}

const zoneOf = (part) => (utc ? "UTC" : part.timeZoneName.replace("GMT", "UTC").replace(/\+0$/, ""));

/** Write a moment with its date and zone: `2026-11-27 11:14:05 UTC+8`. */
export function stamp(at, precise = false) {
  const part = parts(at);
  const fraction = precise ? `.${part.fractionalSecond}` : "";
  return `${part.year}-${part.month}-${part.day} ${part.hour}:${part.minute}:${part.second}${fraction} ${zoneOf(part)}`;
}

/** Write the hour and minute alone, for axes whose zone stands elsewhere. */
export function clock(at) {
  const part = parts(at);
  return `${part.hour}:${part.minute}`;
}

/** The zone's name now, such as `UTC+8`. */
export const zoneName = () => zoneOf(parts(Date.now()));

/** The zone's name of this machine, whichever is chosen. */
export function localZone() {
  const chosen = utc;
  utc = false;
  const name = zoneName();
  utc = chosen;
  return name;
}

function write(element) {
  const text = stamp(element.dateTime, element.dataset.precise === "true");
  const cut = text.lastIndexOf(" ");
  element.replaceChildren(text.slice(0, cut + 1), h("span", { className: "zone" }, text.slice(cut + 1)));
}

/** Make an element that shows a moment, and follows the zone; `precise`: to the millisecond. */
export function moment(at, precise = false) {
  const element = h("time", { dateTime: at });
  element.dataset.precise = precise;
  write(element);
  return element;
}

/** The value of a `datetime-local` field for a moment; empty for none. */
export const toField = (at) => (at ? stamp(at).slice(0, 16).replace(" ", "T") : "");

/** The moment that such a field says, as ISO 8601 in UTC; empty for none. */
export const fromField = (value) => (value ? new Date(utc ? `${value}Z` : value).toISOString() : "");
