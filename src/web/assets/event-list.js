// The list of all events: as far as it is looked at, with filters in the address, a selection, and keys.
//
// The list consists of parts of one answer each. A part that is out of sight keeps its height and nothing else in the
// document; one that is far away does not keep its records either, and asks for them again.

import { byId, element, nearEnd, setText } from "./dom.js";
import { deliveryOf, followEvents, placeOf, shareOf, stateOf, thumbnail, titleOf } from "./event-view.js";
import { send } from "./form.js";
import { doubt, localTime, objectName, percent, typed } from "./format.js";
import { keys } from "./keys.js";
import { sayMissing } from "./partial.js";
import { named, t } from "./texts.js";

const PART = 60;
const PARTS_KEPT = 30;
const AT_ONCE = 100;
const PRESS_MS = 500;
const MOST = 200;
const TOGETHER_MS = 300;

const list = byId("list");
const form = byId("filters");
const bar = byId("bulk");
const outcome = byId("outcome");
const selected = new Set();
let parts = []; // { root, before, records, cards, height, isShown }
let next = ""; // the `before` of the part behind the last; null: there is none
let loading = null;
let current = null; // id of the event that keys are about
let round = 0;
let me = { name: "", role: "viewer" };

const mayChange = () => me.role !== "viewer";
const isReviewed = (record) => (record.reviewed ?? []).some(({ by }) => by === me.name);

// The address and the filters.

const TIMES = ["since", "until"];

function filters() {
  const params = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    // A destination is one of a state of delivery.
    if (value === "" || (name === "outlet" && !form.elements.namedItem("delivery").value)) continue;
    params.append(name, TIMES.includes(name) ? new Date(value).toISOString() : value);
  }
  return params;
}

function fillFilters() {
  form.reset();
  for (const [name, value] of new URLSearchParams(location.search)) {
    const field = form.elements.namedItem(name);
    if (!field) continue;
    if (field.tagName === "SELECT") offer(field, value);
    field.value = TIMES.includes(name) ? typed(value) : value;
    const rare = field.closest("details");
    if (rare) rare.open = true;
  }
}

function offer(field, value) {
  if (![...field.options].some((option) => option.value === value)) field.append(element("option", { value }, value));
}

const offered = new Set();

/** Words that filters are offered, as far as events have shown them. */
function learn({ event }) {
  const words = { label: [event.label, ...(event.labels ?? [])], rule: [event.rule], zone: event.zones, tag: event.annotations?.tags ?? [] };
  for (const [name, values] of Object.entries(words)) {
    for (const value of values) {
      if (offered.has(`${name} ${value}`)) continue;
      offered.add(`${name} ${value}`);
      byId(`known-${name}`).append(element("option", { value }, name === "label" ? objectName(value) : ""));
    }
  }
}

function address() {
  const text = filters().toString();
  return text ? `/events?${text}` : "/events";
}

// Cards.

function makeCard(id) {
  const check = element("input", { type: "checkbox", class: "pick" });
  check.addEventListener("change", () => select(id, check.checked));
  const frame = element("div", { class: "thumb" });
  const [title, score, where, at, state, delivery] = ["title", "score", "where", "when", "state", "delivery"].map((name) => element("span", { class: name }));
  const marks = element("span", { class: "marks" });
  const lines = element("span", { class: "lines" }, element("span", { class: "line" }, title, score), where, at, element("span", { class: "line" }, state, delivery), marks);
  const link = element("a", { class: "card" }, frame, lines);
  const root = element("li", { class: "entry" }, link, check);
  root.dataset.id = id;
  link.addEventListener("focus", () => (current = id));
  link.addEventListener("click", (click) => {
    if (!document.body.classList.contains("selecting") || click.ctrlKey || click.metaKey) return;
    click.preventDefault();
    select(id, !selected.has(id));
  });
  pressed(link, () => {
    setSelecting(true);
    select(id, true);
  });
  return { root, link, check, frame, title, score, where, at, state, delivery, marks, text: "" };
}

/** Calls `act` when a finger rests on `link`. */
function pressed(link, act) {
  let timer = null;
  let isLong = false;
  const stop = () => clearTimeout(timer);
  link.addEventListener("touchstart", () => {
    isLong = false;
    timer = setTimeout(() => {
      isLong = true;
      act();
    }, PRESS_MS);
  }, { passive: true });
  for (const name of ["touchmove", "touchend", "touchcancel"]) link.addEventListener(name, stop, { passive: true });
  // The finger that is lifted then opens nothing, and the browser's own menu stays away.
  link.addEventListener("click", (click) => isLong && click.preventDefault(), { capture: true });
  link.addEventListener("contextmenu", (menu) => isLong && menu.preventDefault());
}

function updateCard(card, record) {
  const text = JSON.stringify([record, selected.has(record.event.id), location.search]);
  if (card.text === text) return;
  card.text = text;
  const { event } = record;
  const said = event.annotations ?? {};
  const at = localTime(event.start.wall, new Date());
  const why = doubt(event.start.time_quality);
  card.link.href = `/events/${event.id}${location.search}`;
  card.check.checked = selected.has(event.id);
  card.check.setAttribute("aria-label", t("events.select", { label: event.label, camera: event.camera, time: at }));
  const shown = JSON.stringify([event.pictures, event.state]);
  if (card.frame.dataset.shown !== shown) card.frame.replaceChildren(thumbnail(event));
  card.frame.dataset.shown = shown;
  setText(card.title, titleOf(event));
  setText(card.score, percent(event.score));
  setText(card.where, placeOf(event));
  setText(card.at, why ? t("time.uncertain", { time: at }) : at);
  card.at.title = why;
  setText(card.state, stateOf(event));
  const delivery = deliveryOf(record);
  setText(card.delivery, delivery.text);
  card.delivery.dataset.state = delivery.state;
  card.delivery.title = record.delivery.map(shareOf).join(", ");
  Object.assign(card.root.dataset, { state: event.state, reviewed: isReviewed(record), selected: selected.has(event.id) });
  const marks = [
    isReviewed(record) && element("span", { class: "mark" }, t("events.is_reviewed")),
    event.pinned && element("span", { class: "mark pinned" }, t("events.is_pinned")),
    said.verdict && element("span", { class: `mark ${said.verdict}` }, named("event.verdict", said.verdict)),
    ...(said.tags ?? []).map((tag) => element("span", { class: "mark tag" }, tag)),
    said.note && element("span", { class: "mark note", title: said.note }, said.note.slice(0, 60)),
  ];
  card.marks.replaceChildren(...marks.filter(Boolean));
}

// Parts.

const sight = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const part = parts.find(({ root }) => root === entry.target);
    if (!part) continue;
    part.isNear = entry.isIntersecting;
    if (part.isNear) showPart(part);
    else hidePart(part);
  }
}, { rootMargin: "1200px 0px" });

function addPart(before, records) {
  const root = element("ul", { class: "events part" });
  const part = { root, before, records, cards: new Map(), isNear: true, isShown: false };
  parts.push(part);
  list.append(root);
  renderPart(part);
  sight.observe(root);
  return part;
}

function renderPart(part) {
  part.isShown = true;
  part.root.style.minHeight = "";
  const before = part.cards;
  part.cards = new Map();
  for (const record of part.records) {
    const card = before.get(record.event.id) ?? makeCard(record.event.id);
    updateCard(card, record);
    part.cards.set(record.event.id, card);
  }
  part.root.replaceChildren(...[...part.cards.values()].map(({ root }) => root));
}

async function showPart(part) {
  if (part.isShown) return;
  if (!part.records) {
    const mine = round;
    const page = await ask({ before: part.before, limit: PART }).catch(() => null);
    if (!page || mine !== round || part.isShown) return;
    part.records = page.events;
  }
  if (part.isNear) renderPart(part);
}

function hidePart(part) {
  if (!part.isShown || part.cards.has(document.activeElement?.closest(".entry")?.dataset.id)) return;
  part.root.style.minHeight = `${part.root.offsetHeight}px`;
  part.root.replaceChildren();
  part.cards = new Map();
  part.isShown = false;
  // The records of parts that are far from what is shown are asked for again.
  const place = parts.indexOf(part);
  const near = parts.findIndex(({ isNear }) => isNear);
  for (const [index, other] of parts.entries()) if (!other.isShown && near >= 0 && Math.abs(index - near) > PARTS_KEPT) other.records = null;
  if (near < 0 && parts.length > PARTS_KEPT) parts[place].records = null;
}

async function ask(more) {
  const params = filters();
  for (const [name, value] of Object.entries(more)) if (value) params.set(name, String(value));
  return send("GET", `/api/v1/events?${params}`);
}

/** The next part at the end, while the end is in sight. */
async function load() {
  if (loading !== null || next === null) return;
  const mine = round;
  loading = mine;
  const status = byId("status");
  try {
    // A part of a list that was searched in vain for a while is empty, and the search goes on behind it.
    const before = next;
    const page = await ask({ before, limit: PART });
    if (mine !== round) return;
    next = page.next ?? null;
    page.events.forEach(learn);
    if (page.events.length > 0) addPart(before, page.events);
    const searched = page.searched_back_to && t("events.searched", { time: localTime(page.searched_back_to, null) });
    setText(status, searched || (next === null && parts.length > 0 ? t("events.end") : ""));
    if (next === null) sayMissing(status);
    byId("no-events").hidden = parts.length > 0 || next !== null;
    setText(byId("no-events"), t(location.search ? "event.no_match" : "event.none"));
    remember();
  } catch (error) {
    if (mine === round) setText(status, error.message);
    return;
  } finally {
    if (loading === mine) loading = null;
  }
  grown();
}

const grown = nearEnd(byId("end"), load);

/** Leaves to the page of one event which ones are beside it. */
function remember() {
  const ids = parts.flatMap(({ records }) => records ?? []).map(({ event }) => event.id);
  try {
    sessionStorage.setItem("outpost.events", JSON.stringify({ search: location.search, ids: ids.slice(0, 5000) }));
  } catch {
    // Without it that page asks.
  }
}

function restart() {
  round += 1;
  loading = null;
  next = "";
  current = null;
  sight.disconnect();
  parts = [];
  list.replaceChildren();
  selected.clear();
  showBar();
  load();
}

const find = (id) => {
  for (const part of parts) {
    const record = part.records?.find(({ event }) => event.id === id);
    if (record) return { part, record };
  }
  return null;
};

function replace(record) {
  const found = find(record.event.id);
  if (!found) return;
  found.part.records[found.part.records.indexOf(found.record)] = record;
  const card = found.part.cards.get(record.event.id);
  if (card) updateCard(card, record);
}

function forget(id) {
  const found = find(id);
  selected.delete(id);
  if (!found) return;
  if (current === id) step(1) || step(-1);
  found.part.records.splice(found.part.records.indexOf(found.record), 1);
  if (found.part.isShown) renderPart(found.part);
  showBar();
}

/** What began since the list was asked for. */
async function newer() {
  const newest = parts[0]?.records?.[0]?.event.id;
  if (!newest) return next === null && load();
  const page = await ask({ after: newest, limit: PART }).catch(() => null);
  if (!page || parts[0]?.records?.[0]?.event.id !== newest) return;
  if (page.next) return restart();
  if (page.events.length === 0) return;
  parts[0].records.unshift(...page.events);
  page.events.forEach(learn);
  if (parts[0].isShown) renderPart(parts[0]);
  remember();
}

// The selection.

function setSelecting(isOn) {
  document.body.classList.toggle("selecting", isOn);
  byId("select").setAttribute("aria-pressed", String(isOn));
}

function select(id, isOn) {
  if (isOn) selected.add(id);
  else selected.delete(id);
  const found = find(id);
  const card = found?.part.cards.get(id);
  if (card) updateCard(card, found.record);
  showBar();
}

function clear() {
  for (const id of [...selected]) select(id, false);
  setSelecting(false);
}

function showBar() {
  bar.hidden = selected.size === 0;
  setText(byId("selected"), t("events.selected", { count: selected.size }));
}

/** Carries `action` out with `ids`, as many at once as one command takes. */
async function run(action, ids, tags) {
  if (ids.length === 0) return;
  if (action === "delete" && !confirm(`${t("events.delete_question", { count: ids.length })} ${t("events.delete_shared")}`)) return;
  const refused = [];
  let done = 0;
  try {
    let waiting = ids;
    while (waiting.length > 0) {
      const body = { action, ids: waiting.slice(0, AT_ONCE), ...(tags ? { tags } : {}) };
      const { outcomes } = await send("POST", "/api/v1/events/bulk", body);
      const later = outcomes.filter(({ outcome: state }) => state === "later").map(({ id }) => id);
      for (const { id, outcome: state, detail } of outcomes) {
        if (state === "done") done += 1;
        else if (state !== "later") refused.push(detail ?? named("events.outcome", state));
        if (action === "delete" && (state === "done" || state === "not_found")) forget(id);
      }
      waiting = [...later, ...waiting.slice(AT_ONCE)];
      await refresh(body.ids.filter((id) => action !== "delete" && !later.includes(id)));
    }
    const why = [...new Set(refused)].join("; ");
    say(refused.length ? t("events.partly", { done, n: refused.length, why }) : t("events.done", { count: done }), refused.length > 0);
  } catch (error) {
    say(error.message, true);
  }
}

let silence = null;

/** Shows what came of a command for a while. */
function say(text, isBad) {
  clearTimeout(silence);
  setText(outcome, text);
  outcome.classList.toggle("bad", isBad);
  silence = setTimeout(() => setText(outcome, ""), isBad ? 20_000 : 5000);
}

/** Shows `ids` as they are now, those that are in sight: of the others the stream reports, or they are asked for again. */
async function refresh(ids) {
  const shown = ids.filter((id) => find(id)?.part.isShown).slice(0, AT_ONCE);
  const records = await Promise.all(shown.map((id) => send("GET", `/api/v1/events/${id}`).catch(() => null)));
  records.filter(Boolean).forEach(replace);
}

const concerned = () => (selected.size > 0 ? [...selected] : current ? [current] : []);

/** Turns something on for all that are concerned, or off where all have it. */
function toggle(on, off, has) {
  const ids = concerned();
  const all = ids.every((id) => {
    const found = find(id);
    return found && has(found.record);
  });
  run(all ? off : on, ids);
}

bar.addEventListener("click", ({ target }) => {
  const action = target.closest("button")?.dataset.action;
  if (action === "clear") clear();
  else if (action) run(action, [...selected]);
});
byId("tag-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const tag = byId("tag-name").value.trim();
  if (tag) run("tag", [...selected], [tag]);
  byId("tag-name").value = "";
});
byId("select").addEventListener("click", () => (document.body.classList.contains("selecting") ? clear() : setSelecting(true)));

// The keyboard.

function step(by) {
  const ids = parts.flatMap(({ records }) => records ?? []).map(({ event }) => event.id);
  const place = current ? ids.indexOf(current) : by > 0 ? -1 : 0;
  const id = ids[place + by];
  if (!id) return false;
  current = id;
  const { part } = find(id);
  if (!part.isShown) renderPart(part);
  const card = part.cards.get(id);
  card.link.focus({ preventScroll: true });
  card.root.scrollIntoView({ block: "nearest" });
  if (place + by > ids.length - 10) load();
  return true;
}

keys({
  j: ["events.key.next", () => step(1)],
  k: ["events.key.previous", () => step(-1)],
  Enter: ["events.key.open", () => current && location.assign(`/events/${current}${location.search}`)],
  x: ["events.key.select", () => current && select(current, !selected.has(current))],
  r: ["events.key.review", () => toggle("review", "unreview", isReviewed)],
  Escape: ["events.key.clear", clear],
  "/": ["events.key.search", () => form.elements.namedItem("text").focus()],
});

function showRole() {
  document.body.classList.toggle("may-change", mayChange());
  if (!mayChange()) return;
  keys({
    p: ["events.key.pin", () => toggle("pin", "unpin", ({ event }) => event.pinned)],
    "#": ["events.key.delete", () => run("delete", concerned())],
  });
}

// What happens meanwhile.

let due = null;
const begun = () => (due ??= setTimeout(() => {
  due = null;
  newer();
}, TOGETHER_MS));

/** Asks again for what is shown; the rest is asked for when it is. */
async function catchUp() {
  await newer();
  const mine = round;
  for (const part of parts) {
    const last = part.isShown && part.records?.at(-1)?.event.id;
    const page = last ? await ask({ before: part.before, limit: Math.min(part.records.length, MOST) }).catch(() => null) : null;
    if (mine !== round) return;
    // Behind it the next part begins. A part that grew long is shown as it is.
    if (page && part.records.length <= MOST) part.records = page.events.filter(({ event }) => event.id >= last);
    if (part.isShown) renderPart(part);
    else part.records = null;
  }
}

form.addEventListener("change", () => {
  history.pushState(null, "", address());
  restart();
});
form.addEventListener("submit", (event) => event.preventDefault());
byId("clear-filters").addEventListener("click", () => {
  form.reset();
  history.pushState(null, "", "/events");
  restart();
});
addEventListener("popstate", () => {
  fillFilters();
  restart();
});

fillFilters();
me = await send("GET", "/api/v1/me").catch(() => me);
showRole();
load();
followEvents({ start: begun, update: replace, end: replace, delete: ({ id }) => forget(id), reset: restart }, catchUp);
send("GET", "/api/v1/status").then(({ cameras, outlets }) => {
  cameras.forEach(({ name }) => offer(form.elements.namedItem("camera"), name));
  outlets.filter(({ name }) => name !== "lake").forEach(({ name }) => offer(form.elements.namedItem("outlet"), name));
}).catch(() => null);
