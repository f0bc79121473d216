// Dead letters: why listeners could not apply what they were sent, and another try for one, some or all of a kind.

import { ask } from "./ask.js";
import { actionsTable } from "./audit.js";
import { letterDialog } from "./dead-letter.js";
import { h, table } from "./dom.js";
import { count, problem } from "./figures.js";
import { loader } from "./loading.js";
import { followOutcome, giveUp, PIECE, replay } from "./replays.js";
import { address, go } from "./router.js";
import { may, send } from "./session.js";
import { text } from "./text.js";
import { moment } from "./times.js";

const STATES = ["dead", "retry", "acknowledged"];

/** Open the page; `query`: state, reason and listener, after which row, and the letter that is open. */
export function openDeadLetters({ query: first }) {
  let query = first;
  let page = null;
  let open = true;
  let shownLetter = null;
  const selected = new Set();
  const tabs = h("nav", { className: "tabs", "aria-label": text.stateOfLetters });
  const group = h("select", { id: "group", onchange: choose });
  const filter = h("form", { id: "filter", className: "filter" }, h("label", { htmlFor: "group" }, text.which), group);
  const result = h("div", { id: "replay-state", role: "status" });
  const buttons = h("div", { className: "row" });
  const rows = h("div", { className: "stack", id: "failures" });
  const done = h("div", { className: "stack" });
  const skeleton = h("p", { className: "skeleton tall" });
  // All at once when the first answer is there, so that nothing moves under the finger.
  const bar = h("div", { className: "bar" }, filter, buttons);
  const body = h("div", { className: "stack", hidden: true }, tabs, bar, result, rows, done);

  const state = () => (STATES.includes(query.state) ? query.state : "dead");
  const groups = () => page?.groups.filter((one) => one.state === state()) ?? [];
  const isChosen = (one) => one.reason === query.reason && one.listener === query.listener;
  const chosenRows = () =>
    groups().reduce((sum, one) => sum + (query.reason === undefined || isChosen(one) ? one.rows : 0), 0);
  const here = (change) => address("dead-letters", { ...query, after: "", open: "", ...change });

  function choose() {
    const [reason, listener] = group.value ? JSON.parse(group.value) : ["", ""];
    go(here({ reason, listener }));
  }

  const noted = [
    ["action", "replay"],
    ["action", "acknowledge"],
    ["database", "trade"],
  ];

  function read() {
    const { reason = "", listener = "", after = "" } = query;
    const asked = Object.entries({ state: state(), reason, listener, after }).filter(([, value]) => value);
    return Promise.all([send("GET", `/ops/failures?${new URLSearchParams(asked)}`), actionsTable(noted)]);
  }

  const load = loader(rows, read, ([found, actions]) => {
    page = found;
    for (const id of selected) if (!page.failures.some((one) => one.id === id)) selected.delete(id);
    draw();
    done.replaceChildren(h("h2", {}, text.actions), actions);
  });

  function draw() {
    const totals = Object.fromEntries(STATES.map((one) => [one, 0]));
    for (const one of page.groups) totals[one.state] += one.rows;
    tabs.replaceChildren(
      ...STATES.map((one) =>
        h(
          "a",
          { href: address("dead-letters", { state: one }), "aria-current": one === state() ? "page" : null },
          text.tabs[one],
          " ",
          h("b", { className: "number" }, count(totals[one])),
        ),
      ),
    );
    drawGroups(totals[state()]);
    drawButtons();
    rows.replaceChildren(
      table(columns(), page.failures.map(line), text.noLetters[state()], text.deadTable),
      h(
        "nav",
        { className: "pager", "aria-label": text.pager },
        query.after && h("a", { href: here({}) }, text.firstPage),
        page.next && h("a", { href: here({ after: page.next }), id: "more" }, text.nextPage),
      ),
    );
  }

  function drawGroups(total) {
    const choices = groups().map((one) => [one.reason, one.listener, one.rows]);
    // What is chosen stays on the list when none is left of it.
    if (query.reason !== undefined && !groups().some(isChosen)) choices.push([query.reason, query.listener, 0]);
    group.replaceChildren(
      h("option", { value: "" }, text.allOf(count(total))),
      ...choices.map(([reason, listener, rows]) =>
        h(
          "option",
          {
            value: JSON.stringify([reason, listener]),
            selected: reason === query.reason && listener === query.listener,
          },
          text.groupOf(reason, listener, count(rows)),
        ),
      ),
    );
  }

  function drawButtons() {
    if (!may("repair") || state() === "retry") return buttons.replaceChildren();
    const some = selected.size;
    const button = (id, name, work, rest = {}) => h("button", { type: "button", id, onclick: work, ...rest }, name);
    return buttons.replaceChildren(
      ...[
        button("replay-selected", text.replaySelected(some), replaySome, { disabled: !some }),
        state() === "dead" && button("give-up-selected", text.giveUpSelected(some), giveUpSome, { disabled: !some }),
        state() === "dead" &&
          button("replay-all", text.replayAll(count(chosenRows())), replayAll, {
            disabled: !chosenRows(),
            className: "main",
          }),
      ].filter(Boolean),
    );
  }

  function columns() {
    const all = h("input", { type: "checkbox", id: "select-all", "aria-label": text.selectAll, onchange: selectAll });
    all.checked = page.failures.length > 0 && selected.size === page.failures.length;
    const last = state() === "retry" ? text.nextTry : text.lastFailed;
    const names = [[text.event], [text.reason], [text.listener], [text.attempts, "right"], [last]];
    return may("repair") && state() !== "retry" ? [[all, "pick"], ...names] : names;
  }

  function selectAll({ target }) {
    selected.clear();
    if (target.checked) for (const one of page.failures) selected.add(one.id);
    draw();
  }

  function line(one) {
    const box = h("input", {
      type: "checkbox",
      checked: selected.has(one.id),
      "aria-label": text.selectOne(one.eventId),
      onchange: () => {
        if (box.checked) selected.add(one.id);
        else selected.delete(one.id);
        drawButtons();
        rows.querySelector("#select-all").checked = selected.size === page.failures.length;
      },
    });
    const cells = [
      h("a", { href: here({ after: query.after, open: one.id }), className: "number" }, one.eventId),
      one.reason,
      one.listener,
      count(one.attempts),
      moment((state() === "retry" && one.dueAt) || one.lastFailedAt),
    ];
    return may("repair") && state() !== "retry" ? [box, ...cells] : cells;
  }

  /** Replay, show how far it is and what comes of it; the list is read again, so that all figures agree. */
  async function hand(selections, total) {
    const bar = h("progress", { max: 1, value: 0, "aria-label": text.replaying });
    const words = h("p", {}, text.replaying);
    result.replaceChildren(words, bar);
    try {
      const handed = await replay(selections, (rows) => {
        bar.value = total ? Math.min(1, rows / total) : 0;
        words.textContent = text.replayed(count(rows));
      });
      bar.remove();
      selected.clear();
      await load();
      await followOutcome(
        handed,
        (words, settled) => {
          result.replaceChildren(words);
          if (settled) load();
        },
        () => open,
      );
    } catch (error) {
      result.replaceChildren(problem(error));
      await load();
    }
  }

  const pieces = () => {
    const ids = [...selected];
    const starts = Array.from({ length: Math.ceil(ids.length / PIECE) }, (_, piece) => piece * PIECE);
    return starts.map((start) => ({ ids: ids.slice(start, start + PIECE).join(",") }));
  };

  async function question(words, rows, work) {
    const { title, lines, confirm } = words(count(rows), query.reason, query.listener);
    return ask({ title, lines, confirm, danger: words === text.askGiveUp, work });
  }

  async function replaySome() {
    const chosen = [pieces(), selected.size];
    if (await question(text.askReplay, selected.size, async () => true)) await hand(...chosen);
  }

  async function replayAll() {
    const { reason, listener } = query;
    const total = chosenRows();
    const sure = await question(text.askReplayAll, total, async () => true);
    if (sure) await hand([{ reason, listener }], total);
  }

  async function giveUpSome() {
    const rows = await question(text.askGiveUp, selected.size, () => giveUp(pieces()));
    if (rows === null) return;
    selected.clear();
    result.replaceChildren(h("p", {}, text.givenUp(count(rows))));
    await load();
  }

  async function showLetter() {
    if ((shownLetter?.id ?? "") === (query.open ?? "")) return;
    shownLetter?.close();
    shownLetter = null;
    if (!query.open) return;
    shownLetter = letterDialog(query.open, {
      closed: () => {
        shownLetter = null;
        if (query.open) go(here({ after: query.after }), { replace: true });
      },
      replay: (id) => hand([{ ids: id }], 1),
    });
  }

  async function firstLoad() {
    await load();
    skeleton.remove();
    body.hidden = false;
    showLetter();
  }

  async function update(changed) {
    const same = changed && JSON.stringify({ ...query, open: "" }) === JSON.stringify({ ...changed, open: "" });
    query = changed ?? query;
    if (!same) {
      selected.clear();
      await load();
    }
    showLetter();
  }

  const reload = h("button", { type: "button", id: "reload", onclick: () => load() }, text.reload);
  return {
    element: h("div", { className: "stack" }, skeleton, body),
    tools: [reload],
    ready: firstLoad(),
    update,
    close: () => {
      open = false;
      shownLetter?.close();
    },
  };
}
