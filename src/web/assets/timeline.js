// The timeline: what became of the time of all cameras, from a month down to seconds, and a player for it.

import "./shell.js";
import { byId, element, setText } from "./dom.js";
import { toLogin } from "./form.js";
import { duration, objectName, typed } from "./format.js";
import { keys } from "./keys.js";
import { locale, named, t } from "./texts.js";
import { STATES, drawAxis, drawRow, drawSample, marksOf, readColours } from "./timeline-draw.js";
import { followExports, setUpExport, showSelection } from "./timeline-export.js";
import { handle, pointers } from "./timeline-pointer.js";
import { Player } from "./timeline-player.js";

const SECOND = 1000;
const SHORTEST = 5 * SECOND;
const LONGEST = 31 * 86400 * SECOND;
const MARGIN_MOST = 32 * 86400 * SECOND;
const USUAL = 6 * 3600 * SECOND;
const REFRESH_MS = 20000;
/** Parts of a strip at most, as the API allows. */
const PARTS = 2000;
const LISTED = 40;
const LISTED_AFTER_MS = 200;
/** How high marks of events are, pixels. */
const MARKS_PX = 13;
const clock = new Intl.DateTimeFormat(locale, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

const asked = new URLSearchParams(location.search);
const selection = { camera: asked.get("camera"), from: null, until: null };
const rows = new Map();
const loaded = { from: 0, until: 0, resolution: 0, asked: 0 };
let view;
let asking = null;
let isDrawn = false;
let isLost = false;
let listing = 0;
let picture = 0;
const isVideo = (state) => state === "recorded" || state === "uploaded";
const area = byId("tl-over");
const width = () => area.clientWidth;
const timeAt = (x) => view.from + ((view.until - view.from) * x) / width();
const placeOf = (time) => ((time - view.from) / (view.until - view.from)) * width();

const player = new Player([byId("tl-a"), byId("tl-b")], {
  time(at) {
    byId("tl-nothing").hidden = true;
    setText(byId("tl-clock"), clock.format(at));
    for (const id of ["tl-play", "tl-prev", "tl-next"]) byId(id).disabled = false;
    // What plays stays in view.
    if (player.playing && (at > view.until || at < view.from)) moveTo(at);
    placeOver();
    remember();
  },
  state(isPlaying) {
    setText(byId("tl-play"), t(isPlaying ? "timeline.pause" : "timeline.play"));
  },
  gap(from, until) {
    say(t("timeline.gap", { time: duration((until - from) / SECOND), when: clock.format(until) }));
  },
  nothing(at) {
    setText(byId("tl-nothing"), t("timeline.nothing_at", { when: clock.format(at) }));
    byId("tl-nothing").hidden = false;
    say("");
    placeOver();
  },
  end: () => say(t("timeline.end")),
  failed: () => say(t("timeline.failed")),
});

function say(text) {
  setText(byId("tl-said"), text);
}

/** Shows the time from `from` to `until`, as far as there is one to show. */
function show(from, until) {
  const length = Math.min(Math.max(until - from, SHORTEST), LONGEST);
  const middle = (from + until) / 2;
  // Of what is to come no more than half a view.
  const begin = Math.min(middle - length / 2, Date.now() - length / 2);
  view = { from: begin, until: begin + length };
  setText(byId("tl-span"), duration(length / SECOND));
  draw();
  load();
  remember();
  clearTimeout(listing);
  listing = setTimeout(listEvents, LISTED_AFTER_MS);
}

const moveTo = (at) => show(at - (view.until - view.from) / 2, at + (view.until - view.from) / 2);
const pan = (share) => show(view.from + (view.until - view.from) * share, view.until + (view.until - view.from) * share);

/** Zooms by `factor`; the time at `at` stays where it is. */
function zoom(factor, at = player.at > view.from && player.at < view.until ? player.at : (view.from + view.until) / 2) {
  const length = Math.min(Math.max((view.until - view.from) * factor, SHORTEST), LONGEST);
  const from = at - ((at - view.from) / (view.until - view.from)) * length;
  show(from, from + length);
}

function draw() {
  if (isDrawn) return;
  isDrawn = true;
  requestAnimationFrame(() => {
    isDrawn = false;
    drawAxis(byId("tl-axis"), view, Date.now());
    for (const { canvas, strip } of rows.values()) drawRow(canvas, strip, view);
    placeOver();
  });
}

/** The play position and the selection lie over the strips. */
function placeOver() {
  const head = byId("tl-head");
  head.hidden = player.at === null || player.at < view.from || player.at > view.until;
  head.style.left = `${placeOf(player.at ?? 0)}px`;
  const { from, until } = selection;
  const [begin, end, box] = [byId("tl-from"), byId("tl-until"), byId("tl-selection")];
  for (const node of [begin, end, box]) node.hidden = from === null;
  if (from === null) return;
  for (const [node, time] of [[begin, from], [end, until]]) {
    const place = placeOf(time);
    node.style.left = `${place}px`;
    node.style.visibility = place < 0 || place > width() ? "hidden" : "visible";
    for (const [name, value] of [["valuemin", view.from], ["valuemax", view.until], ["valuenow", time]]) node.setAttribute(`aria-${name}`, Math.round(value / SECOND));
    node.setAttribute("aria-valuetext", clock.format(time));
  }
  const [left, right] = [from, until].map((time) => Math.min(Math.max(placeOf(time), 0), width()));
  box.style.left = `${left}px`;
  box.style.width = `${right - left}px`;
}

/** The address says camera, time and zoom, so that a reload or a link leads here again. */
function remember() {
  clearTimeout(remember.timer);
  remember.timer = setTimeout(() => {
    const at = player.at ?? (view.from + view.until) / 2;
    const query = new URLSearchParams({ at: new Date(at).toISOString(), span: String(Math.round((view.until - view.from) / SECOND)) });
    if (selection.camera) query.set("camera", selection.camera);
    history.replaceState(null, "", `?${query}`);
  }, 300);
}

/** Asks for what is in view, with as much on both sides, unless that is there already. */
function load(isOld = false) {
  const length = view.until - view.from;
  const finest = Math.max(Math.floor(length / SECOND / Math.max(width(), 200)), 1);
  const isThere = view.from >= loaded.from && view.until <= loaded.until && loaded.resolution <= finest * 2;
  if (isThere && !isOld) return;
  clearTimeout(load.timer);
  load.timer = setTimeout(() => ask(finest), loaded.asked ? 120 : 0);
}

async function ask(finest) {
  const length = view.until - view.from;
  const margin = Math.min(length / 2, (MARGIN_MOST - length) / 2);
  const [from, until] = [Math.floor((view.from - margin) / SECOND) * SECOND, Math.ceil((view.until + margin) / SECOND) * SECOND];
  const resolution = Math.max(finest, Math.ceil((until - from) / SECOND / PARTS));
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  const query = new URLSearchParams({ since: new Date(from).toISOString(), until: new Date(until).toISOString(), resolution_s: String(resolution) });
  try {
    for (let left = []; ; ) {
      const cameras = left.map((name) => `&camera=${encodeURIComponent(name)}`).join("");
      const response = await fetch(`/api/v1/timeline?${query}${cameras}`, { signal });
      if (response.status === 401) toLogin();
      if (!response.ok) throw new Error(String(response.status));
      const answer = await response.json();
      answer.cameras.forEach(take);
      left = answer.left;
      draw();
      if (left.length === 0) break;
    }
    Object.assign(loaded, { from, until, resolution, asked: Date.now() });
    isLost = false;
    byId("tl-problem").hidden = true;
    begin();
  } catch {
    if (signal.aborted) return;
    isLost = true;
    setText(byId("tl-problem"), t("timeline.unreachable"));
    byId("tl-problem").hidden = false;
  }
}

function take({ camera, spans, events }) {
  const time = (text) => (text === undefined ? null : Date.parse(text));
  const strip = {
    spans: spans.map((span) => ({ ...span, from: time(span.from), until: time(span.until) })),
    events: events.map((mark) => ({ ...mark, from: time(mark.from), until: time(mark.until) })),
  };
  if (!rows.has(camera)) addRow(camera);
  const row = rows.get(camera);
  row.strip = strip;
  setText(row.words, summary(strip));
  if (camera === selection.camera) listEvents();
}

function addRow(camera) {
  const name = element("button", { type: "button", class: "tl-name", title: camera }, camera);
  const words = element("p", { class: "tl-unseen" });
  const canvas = element("canvas", { "aria-hidden": "true" });
  name.addEventListener("click", () => choose(camera));
  byId("tl-rows").append(element("li", { class: "tl-row" }, name, canvas, words));
  rows.set(camera, { name, words, canvas, strip: null });
  name.setAttribute("aria-pressed", String(camera === selection.camera));
}

/** What a strip shows, in words. */
function summary({ spans, events }) {
  const seconds = new Map();
  const reasons = new Set();
  for (const { from, until, state, reason } of spans) {
    seconds.set(state, (seconds.get(state) ?? 0) + (until - from) / SECOND);
    if (reason) reasons.add(reason);
  }
  const parts = STATES.filter((state) => seconds.has(state)).map((state) => `${named("timeline.state", state)}: ${duration(seconds.get(state))}`);
  parts.push(t("timeline.event_count", { count: events.reduce((sum, mark) => sum + mark.count, 0) }), ...[...reasons].slice(0, 3));
  return parts.join("; ");
}

/** Once there are cameras to show. */
function begin() {
  if (!byId("tl").hidden) return;
  byId("tl").hidden = byId("tl-below").hidden = false;
  for (const state of STATES) {
    const canvas = element("canvas", { "aria-hidden": "true" });
    byId("tl-legend").append(element("li", {}, canvas, named("timeline.state", state)));
    drawSample(canvas, state);
  }
  const usual = [...rows].find(([, { strip }]) => strip.spans.some(({ state }) => isVideo(state))) ?? [...rows][0];
  const camera = rows.has(selection.camera) ? selection.camera : usual?.[0];
  if (camera) choose(camera, asked.has("at") ? Date.parse(asked.get("at")) || null : null);
  draw();
  // Only now is it known how wide the strips are.
  load();
  followExports();
}

/** The player shows `camera`, at `at` or where it was. */
function choose(camera, at = player.at) {
  selection.camera = camera;
  for (const [name, row] of rows) row.name.setAttribute("aria-pressed", String(name === camera));
  setText(byId("tl-player-title"), camera);
  listEvents();
  if (at !== null) player.seek(camera, at);
  remember();
}

function listEvents() {
  const events = (rows.get(selection.camera)?.strip?.events ?? []).filter(({ from }) => from >= view.from && from <= view.until);
  const marks = events.slice(-LISTED).reverse();
  const list = byId("tl-events");
  // The same links stay, and with them the focus.
  const text = JSON.stringify(marks);
  if (list.dataset.text === text) return;
  list.dataset.text = text;
  const items = marks.map((mark) => {
    const label = mark.label ? objectName(mark.label) : t("timeline.object");
    const text = mark.count > 1 ? t("timeline.event_several", { count: mark.count, when: clock.format(mark.from) }) : `${label}, ${clock.format(mark.from)}`;
    return element("li", {}, element("a", { href: `/events/${mark.id}` }, text));
  });
  list.replaceChildren(...items);
  byId("tl-no-events").hidden = items.length > 0;
}

/** The camera whose strip lies at `y`, pixels below the top of the area. */
function cameraAt(y) {
  const top = area.getBoundingClientRect().top;
  for (const [camera, { canvas }] of rows) {
    const box = canvas.parentElement.getBoundingClientRect();
    if (top + y >= box.top && top + y < box.bottom) return camera;
  }
  return null;
}

/** Marks lie at the upper edge of a strip. */
function isAtMarks(camera, y) {
  const box = rows.get(camera)?.canvas.getBoundingClientRect();
  return box && area.getBoundingClientRect().top + y < box.top + MARKS_PX;
}

const markAt = (camera, x) => marksOf(rows.get(camera)?.strip, view, width()).find((mark) => Math.abs(mark.x - x) <= 6);

/** A picture of what is at the pointer, of the box's own choice of when it looks. */
function peek(x, y) {
  const [node, image] = [byId("tl-peek"), byId("tl-picture")];
  const camera = cameraAt(y);
  const span = rows.get(camera)?.strip?.spans.find(({ from, until }) => from <= timeAt(x) && timeAt(x) < until);
  node.hidden = !span;
  if (!span) return;
  node.style.left = `${Math.min(Math.max(x - 88, 0), Math.max(width() - 176, 0))}px`;
  node.style.top = `${y < 120 ? y + 24 : 4}px`;
  const state = [named("timeline.state", span.state), span.reason].filter(Boolean).join(": ");
  setText(byId("tl-when"), `${camera}, ${clock.format(timeAt(x))}. ${state}`);
  clearTimeout(picture);
  if (!isVideo(span.state)) {
    image.hidden = true;
    return;
  }
  const near = Math.min(Math.max(Math.ceil(((view.until - view.from) / width() / SECOND) * 8), 2), 10800);
  const query = new URLSearchParams({ at: new Date(timeAt(x)).toISOString(), within_s: String(near) });
  picture = setTimeout(() => (image.src = `/api/v1/cameras/${encodeURIComponent(camera)}/preview.jpg?${query}`), 120);
}
byId("tl-picture").addEventListener("load", ({ target }) => (target.hidden = false));
byId("tl-picture").addEventListener("error", ({ target }) => (target.hidden = true));

function select(from, until) {
  [selection.from, selection.until] = from === null ? [null, null] : [Math.min(from, until), Math.max(from, until)];
  showSelection(selection);
  placeOver();
}

/** Sets one end of the selection to the play position. */
function selectEnd(end) {
  const at = player.at ?? (view.from + view.until) / 2;
  const other = (view.until - view.from) / 10;
  if (end === "from") select(at, selection.until > at ? selection.until : at + other);
  else select(selection.from !== null && selection.from < at ? selection.from : at - other, at);
}

function nextEvent(direction) {
  const events = (rows.get(selection.camera)?.strip?.events ?? []).map(({ from }) => from);
  const at = player.at ?? view.from;
  const next = direction > 0 ? events.find((from) => from > at + SECOND) : events.findLast((from) => from < at - SECOND);
  if (next === undefined) return;
  player.seek(selection.camera, next);
  if (next < view.from || next > view.until) moveTo(next);
}

function chooseNext(direction) {
  const names = [...rows.keys()];
  choose(names[(names.indexOf(selection.camera) + direction + names.length) % names.length]);
}

function setSpeed(direction) {
  const select = byId("tl-speed");
  select.selectedIndex = Math.min(Math.max(select.selectedIndex + direction, 0), select.options.length - 1);
  player.setRate(Number(select.value));
}

const toggle = () => (player.playing ? player.pause() : player.play());
const now = () => show(Date.now() - (view.until - view.from) * 0.9, Date.now() + (view.until - view.from) * 0.1);
const acts = { "tl-back": () => pan(-0.5), "tl-forward": () => pan(0.5), "tl-in": () => zoom(0.5), "tl-out": () => zoom(2), "tl-now": now, "tl-play": toggle, "tl-prev": () => player.step(-1), "tl-next": () => player.step(1) };
for (const [id, act] of Object.entries(acts)) byId(id).addEventListener("click", act);
byId("tl-speed").addEventListener("change", ({ target }) => player.setRate(Number(target.value)));
byId("tl-sound").addEventListener("change", ({ target }) => player.videos.forEach((video) => { video.muted = !target.checked; }));
byId("tl-jump").addEventListener("submit", (event) => {
  event.preventDefault();
  const at = Date.parse(byId("tl-at").value);
  if (!Number.isFinite(at)) return;
  moveTo(at);
  if (selection.camera) player.seek(selection.camera, at);
});
keys({
  "+": ["timeline.in", () => zoom(0.5)],
  "-": ["timeline.out", () => zoom(2)],
  ArrowLeft: ["timeline.earlier", () => pan(-0.25)],
  ArrowRight: ["timeline.later", () => pan(0.25)],
  h: ["timeline.key.above", () => chooseNext(-1)],
  j: ["timeline.key.below", () => chooseNext(1)],
  n: ["timeline.now", now],
  k: ["timeline.key.play", toggle],
  ",": ["timeline.frame_back", () => player.step(-1)],
  ".": ["timeline.frame_on", () => player.step(1)],
  "<": ["timeline.key.slower", () => setSpeed(-1)],
  ">": ["timeline.key.faster", () => setSpeed(1)],
  p: ["timeline.key.event_before", () => nextEvent(-1)],
  e: ["timeline.key.event_next", () => nextEvent(1)],
  "[": ["timeline.key.from", () => selectEnd("from")],
  "]": ["timeline.key.until", () => selectEnd("until")],
});
pointers(area, {
  pan: (pixels) => show(timeAt(pixels), timeAt(pixels + width())),
  zoom: (factor, x) => zoom(factor, timeAt(x)),
  select: (from, until) => select(timeAt(from), timeAt(until)),
  peek,
  leave: () => (byId("tl-peek").hidden = true),
  click(x, y) {
    const camera = cameraAt(y) ?? selection.camera;
    const mark = isAtMarks(camera, y) ? markAt(camera, x) : undefined;
    if (mark?.count === 1) location.assign(`/events/${mark.id}`);
    else if (mark) zoom(0.25, mark.from);
    else if (camera) choose(camera, timeAt(x));
  },
});
for (const [id, end] of [["tl-from", "from"], ["tl-until", "until"]]) {
  handle(byId(id), {
    move: (x) => select(...(end === "from" ? [timeAt(x), selection.until] : [selection.from, timeAt(x)])),
    // A pixel at a time, a second at least.
    step(n) {
      const by = n * Math.max((view.until - view.from) / width(), SECOND);
      select(...(end === "from" ? [Math.min(selection.from + by, selection.until - SECOND), selection.until] : [selection.from, Math.max(selection.until + by, selection.from + SECOND)]));
    },
  }, area);
}
setUpExport(selection, select);

readColours();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readColours();
  draw();
});
new ResizeObserver(() => draw()).observe(area);
setInterval(() => {
  // The strip ends a little behind now: only where that is in view is there anything new.
  // Less than a pixel of it is nothing to ask for.
  const isDue = Date.now() - loaded.asked >= loaded.resolution * SECOND;
  const isNew = isDue && view.until >= loaded.asked - REFRESH_MS;
  if (!document.hidden && (isNew || isLost)) load(true);
}, REFRESH_MS);

const at = asked.has("at") ? Date.parse(asked.get("at")) : NaN;
const span = Math.min(Math.max(Number(asked.get("span")) * SECOND || (Number.isFinite(at) ? 600 * SECOND : USUAL), SHORTEST), LONGEST);
byId("tl-at").value = typed(Number.isFinite(at) ? at : Date.now());
if (Number.isFinite(at)) show(at - span / 2, at + span / 2);
else show(Date.now() - span * 0.95, Date.now() + span * 0.05);
