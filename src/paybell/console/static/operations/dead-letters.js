// Dead letters: read why, and hand one, some or all of a kind to their listener again.

import { $, send } from "../shared/api.js";
import { count, el, line, notice, rows, text, when } from "./widgets.js";

const state = { group: {}, failures: [], next: null, dead: 0, selected: new Set(), open: null, loading: null };
// The service reads up to 200 ids in one request.
const PIECE = 100;

const dead = (group) => group.state === "dead";

/** Read a page: the first, or the one after a row. What a newer load has overtaken is dropped, errors too. */
async function load(after = "") {
  const mine = Symbol("load");
  state.loading = mine;
  $("more").hidden = true;
  const overtaken = () => state.loading !== mine;
  try {
    const { reason, listener } = state.group;
    const query = new URLSearchParams(Object.entries({ reason, listener, after }).filter(([, value]) => value));
    const [page, { actions }] = await Promise.all([send("GET", `/ops/failures?${query}`), send("GET", "/ops/actions")]);
    if (!overtaken()) showPage(page, after, actions);
  } catch (error) {
    if (!overtaken()) throw error;
  } finally {
    if (!overtaken()) {
      state.loading = null;
      show();
    }
  }
}

function showPage(page, after, actions) {
  state.failures = after ? [...state.failures, ...page.failures] : page.failures;
  state.next = page.next;
  if (!after) state.selected.clear();
  showGroups(page.groups.filter(dead));
  const made = actions.map((one) => el("li", text.action(one, when(one.at))));
  $("actions").replaceChildren(...(made.length ? made : [el("li", text.noActions)]));
}

function showGroups(groups) {
  const total = groups.reduce((sum, group) => sum + group.rows, 0);
  const choices = [
    { name: text.allOf(total), value: {}, rows: total },
    ...groups.map((group) => ({
      name: text.groupOf(group.reason, group.listener, group.rows),
      value: { reason: group.reason, listener: group.listener },
      rows: group.rows,
    })),
  ];
  const chosen = JSON.stringify(state.group);
  $("group").replaceChildren(
    ...choices.map((choice) =>
      el("option", choice.name, {
        value: JSON.stringify(choice.value),
        selected: JSON.stringify(choice.value) === chosen,
      }),
    ),
  );
  state.dead = choices.find((choice) => JSON.stringify(choice.value) === chosen)?.rows ?? 0;
}

function show() {
  rows("failures", state.failures.map(row), text.noDead, 7);
  $("more").hidden = !state.next || state.loading !== null;
  $("replay-selected").textContent = text.replaySelected(state.selected.size);
  $("replay-selected").disabled = !state.selected.size;
  $("acknowledge-selected").textContent = text.acknowledgeSelected(state.selected.size);
  $("acknowledge-selected").disabled = !state.selected.size;
  $("replay-all").textContent = text.replayAll(count(state.dead));
  $("replay-all").disabled = !state.dead;
  $("select-all").checked = state.failures.length > 0 && state.selected.size === state.failures.length;
}

function row(failure) {
  const box = el("input", "", { type: "checkbox", checked: state.selected.has(failure.id) });
  box.setAttribute("aria-label", text.selectOne(failure.eventId));
  box.addEventListener("change", () => {
    if (box.checked) state.selected.add(failure.id);
    else state.selected.delete(failure.id);
    show();
  });
  const open = el("button", text.open, { type: "button" });
  open.addEventListener("click", () => guarded(() => read(failure.id)));
  return line(
    box,
    failure.eventId,
    failure.reason,
    failure.listener,
    String(failure.attempts),
    when(failure.lastFailedAt),
    open,
  );
}

async function read(id) {
  const letter = await send("GET", `/ops/failures/${id}`);
  state.open = id;
  $("letter-title").textContent = letter.eventId;
  const facts = [
    [text.reason, letter.reason],
    [text.error, letter.error],
    [text.listener, letter.listener],
    [text.attempts, letter.attempts],
    [text.received, letter.received],
    [text.lastFailed, when(letter.lastFailedAt)],
    [text.contentType, letter.contentType],
    [text.headers, JSON.stringify(letter.headers)],
  ];
  $("letter-facts").replaceChildren(...facts.flatMap(([name, value]) => [el("dt", name), el("dd", String(value))]));
  $("letter-body").textContent = letter.text ?? `${text.binary} ${letter.base64}`;
  $("letter").showModal();
}

/** Return what is selected, in pieces as the service takes them. */
function selected() {
  const ids = [...state.selected];
  const starts = Array.from({ length: Math.ceil(ids.length / PIECE) }, (_, piece) => piece * PIECE);
  return starts.map((start) => ({ ids: ids.slice(start, start + PIECE).join(",") }));
}

/** Ask in pieces until none is left of what was there when it began; the bar shows how far it is. */
async function replay(selections, total) {
  const until = new Date().toISOString();
  let done = 0;
  $("replay-progress").hidden = false;
  for (const selection of selections) {
    let replayed;
    do {
      $("replay-progress").value = total ? Math.min(1, done / total) : 0;
      ({ replayed } = await send("POST", "/ops/failures/replay", { ...selection, until, most: PIECE }));
      done += replayed;
      $("replay-state").textContent = text.replayed(count(done));
    } while (replayed);
  }
  $("replay-progress").hidden = true;
  $("replay-state").textContent = text.replayed(count(done));
  await load();
}

/** Give up what is selected: it counts no more. */
async function acknowledge() {
  let done = 0;
  for (const piece of selected()) {
    done += (await send("POST", "/ops/failures/acknowledge", { ...piece, most: PIECE })).acknowledged;
  }
  $("replay-state").textContent = text.acknowledged(count(done));
  await load();
}

async function guarded(work) {
  try {
    await work();
    notice();
  } catch (error) {
    $("replay-progress").hidden = true;
    notice(error);
  }
}

/** Show what there is, and let it be replayed. */
export function openDeadLetters() {
  $("group").addEventListener("change", () => {
    state.group = JSON.parse($("group").value);
    guarded(load);
  });
  $("reload").addEventListener("click", () => guarded(load));
  $("more").addEventListener("click", () => guarded(() => load(state.next)));
  $("select-all").addEventListener("change", (event) => {
    state.selected = new Set(event.target.checked ? state.failures.map((failure) => failure.id) : []);
    show();
  });
  $("replay-selected").addEventListener("click", () => guarded(() => replay(selected(), state.selected.size)));
  $("acknowledge-selected").addEventListener("click", () => guarded(acknowledge));
  $("replay-all").addEventListener("click", () => guarded(() => replay([state.group], state.dead)));
  $("letter-close").addEventListener("click", () => $("letter").close());
  $("letter-replay").addEventListener("click", () =>
    guarded(async () => {
      $("letter").close();
      await replay([{ ids: state.open }], 1);
    }),
  );
  show();
  guarded(load);
}
