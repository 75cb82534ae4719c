// The event grid and the dialog with the clip.

import { element, setText } from "./dom.js";
import { ago, bytes, doubt, duration, localTime, percent } from "./format.js";
import { named, t } from "./texts.js";

const MOST_SHOWN = 600;
const list = document.getElementById("events");
const older = document.getElementById("older");
const dialog = document.getElementById("event");
const video = document.getElementById("event-video");
const filters = { camera: document.getElementById("filter-camera"), label: document.getElementById("filter-label") };
const cards = new Map(); // id -> { root, record, text, ... }
let cursor = null; // where the older ones go on
let olderWereLoaded = false;
let boxNow = new Date();
let opened = null;

const url = (id, file) => `/api/v1/events/${encodeURIComponent(id)}/${encodeURIComponent(file)}`;
const picture = (event, ...names) => names.find((name) => event.pictures?.some((file) => file.file === name));

function lengthOf(event) {
  if (!event.end || event.end.boot_id !== event.start.boot_id) return "";
  return duration((event.end.mono_ns - event.start.mono_ns) / 1e9);
}

function stateOf(event) {
  if (event.state === "open") return t("event.going_on");
  if (event.state === "interrupted") return t("event.interrupted");
  return lengthOf(event) || t("event.ended");
}

function lasted(event) {
  if (event.state === "open") return t("event.still_going_on");
  if (event.state === "interrupted") return [lengthOf(event), t("event.was_interrupted")].filter(Boolean).join(", ");
  return lengthOf(event) || t("event.not_known");
}

// The words of the API, in the order in which they count for an event.
const DELIVERY = ["failed", "waiting", "dropped", "delivered", "not_wanted"];

function deliveryOf(record) {
  const state = DELIVERY.find((name) => record.delivery.some((delivery) => delivery.state === name));
  return state ? { state, text: named("event.delivery", state) } : { state: "none", text: "" };
}

/** An outlet's share; names the files that hold it up where the others are further. */
function shareOf({ outlet, state, files = [] }) {
  const held = files.filter((file) => file.state === state);
  const names = held.map(({ file }) => file).join(", ");
  const values = { outlet, state: named("event.delivery", state), files: names };
  return t(held.length < files.length ? "event.share_files" : "event.share", values);
}

function makeCard(id) {
  const frame = element("div", { class: "thumb" });
  const title = element("span", { class: "title" });
  const score = element("span", { class: "score" });
  const where = element("span", { class: "where" });
  const at = element("span");
  const since = element("span");
  const when = element("span", { class: "when" }, at, " ", since);
  const state = element("span", { class: "state" });
  const delivery = element("span", { class: "delivery" });
  const lines = element("span", { class: "lines" }, element("span", { class: "line" }, title, score), where, when, element("span", { class: "line" }, state, delivery));
  const button = element("button", { type: "button", class: "card" }, frame, lines);
  button.addEventListener("click", () => open(id));
  return { root: element("li", {}, button), button, frame, title, score, where, when, at, ago: since, state, delivery, text: "", thumb: null };
}

function updateCard(card, record) {
  const event = record.event;
  const why = doubt(event.start.time_quality);
  const relative = ago((boxNow - new Date(event.start.wall)) / 1000);
  setText(card.at, localTime(event.start.wall, boxNow));
  setText(card.ago, why ? t("time.uncertain", { time: relative }) : relative);
  card.when.title = why;
  const text = JSON.stringify(record);
  card.record = record;
  if (card.text === text) return;
  card.text = text;
  const thumb = picture(event, "thumb.jpg", "snapshot.jpg");
  if (thumb !== card.thumb) {
    card.thumb = thumb;
    const image = thumb && element("img", { src: url(event.id, thumb), alt: "", loading: "lazy" });
    image?.addEventListener("error", () => image.replaceWith(element("span", { class: "blank" }, t("event.gone_picture"))));
    card.frame.replaceChildren(image || element("span", { class: "blank" }, t(event.state === "open" ? "event.recording" : "event.no_picture")));
  }
  setText(card.title, event.count > 1 ? t("event.many", { n: event.count, label: event.label }) : event.label);
  setText(card.score, percent(event.score));
  setText(card.where, [event.camera, event.rule, event.zones.join(", ")].filter(Boolean).join(" · "));
  setText(card.state, stateOf(event));
  card.root.dataset.state = event.state;
  const delivery = deliveryOf(record);
  setText(card.delivery, delivery.text);
  card.delivery.dataset.state = delivery.state;
  card.delivery.title = record.delivery.map(shareOf).join(", ");
}

function place(record) {
  const id = record.event.id;
  let card = cards.get(id);
  if (!card) {
    card = makeCard(id);
    cards.set(id, card);
    // Newest first; ids grow with time.
    const after = [...list.children].find((item) => item.dataset.id < id);
    card.root.dataset.id = id;
    list.insertBefore(card.root, after ?? null);
  }
  updateCard(card, record);
}

export function query() {
  const params = new URLSearchParams({ limit: "48" });
  if (filters.camera.value) params.set("camera", filters.camera.value);
  if (filters.label.value) params.set("label", filters.label.value);
  return params;
}

export function showEvents(reply, now) {
  boxNow = now;
  reply.events.forEach(place);
  // What the box no longer lists within this page is gone there, too.
  const listed = new Set(reply.events.map((record) => record.event.id));
  const oldest = reply.next ? reply.events.at(-1)?.event.id : "";
  for (const [id, card] of cards) {
    if (!listed.has(id) && id >= oldest) remove(id, card);
    else if (!listed.has(id)) updateCard(card, card.record);
  }
  if (!olderWereLoaded) {
    cursor = reply.next ?? null;
    for (const [id, card] of cards) if (!listed.has(id)) remove(id, card);
  }
  afterChange(reply.events);
}

function remove(id, card) {
  card.root.remove();
  cards.delete(id);
}

function afterChange(records) {
  for (const record of records) offer(filters.label, record.event.label);
  if (opened && cards.has(opened.event.id)) refill(cards.get(opened.event.id).record);
  const none = document.getElementById("no-events");
  none.hidden = cards.size > 0;
  setText(none, t(filters.camera.value || filters.label.value ? "event.no_match" : "event.none"));
  older.hidden = cursor === null || cards.size >= MOST_SHOWN;
}

function offer(select, value) {
  if (value && ![...select.options].some((option) => option.value === value)) select.append(element("option", { value }, value));
}

export function offerCameras(names) {
  names.forEach((name) => offer(filters.camera, name));
}

export function onFilter(callback) {
  for (const select of Object.values(filters)) {
    select.addEventListener("change", () => {
      cards.forEach((card, id) => remove(id, card));
      cursor = null;
      olderWereLoaded = false;
      callback();
    });
  }
}

older.addEventListener("click", async () => {
  older.disabled = true;
  const params = query();
  params.set("before", cursor);
  try {
    const response = await fetch(`/api/v1/events?${params}`);
    if (!response.ok) throw new Error(`status ${response.status}`);
    const reply = await response.json();
    olderWereLoaded = true;
    cursor = reply.next ?? null;
    reply.events.forEach(place);
    afterChange(reply.events);
    setText(older, t("event.older"));
  } catch {
    setText(older, t("event.older_failed"));
  } finally {
    older.disabled = false;
  }
});

function notice(text, file) {
  const node = document.getElementById("event-notice");
  node.hidden = !text;
  node.replaceChildren(text ?? "");
  if (file) node.append(" ", element("a", { href: file, download: "" }, t("event.download")));
}

function fact(name, value, title) {
  if (!value) return [];
  return [element("dt", {}, t(`event.${name}`)), element("dd", title ? { title } : {}, value)];
}

/** The files of the clip: more than one where the camera changed its parameters meanwhile. */
const clipsOf = (event) => [...(event.clip ? [event.clip] : []), ...(event.more_clips ?? [])];

/** Plays the files of the clip one after the other. */
function play(event, n) {
  video.src = url(event.id, clipsOf(event)[n].file);
  video.dataset.file = String(n);
}

video.addEventListener("ended", () => {
  const next = Number(video.dataset.file) + 1;
  if (!opened || next >= clipsOf(opened.event).length) return;
  play(opened.event, next);
  video.play().catch(() => {});
});

function clipFacts(clips) {
  if (clips.length === 0) return "";
  const seconds = clips.reduce((all, clip) => all + clip.duration_s, 0);
  const kinds = [...new Set(clips.map((clip) => `${clip.codec}, ${clip.width} × ${clip.height}`))];
  const files = clips.length > 1 ? t("event.clip_files", { count: clips.length }) : "";
  const cut = clips.at(-1).truncated ? t("event.cut") : "";
  return [duration(seconds), kinds.join("; "), files, cut].filter(Boolean).join(", ");
}

function fill(record) {
  const event = record.event;
  setText(document.getElementById("event-title"), t("event.at", event));
  const why = doubt(event.start.time_quality);
  const began = localTime(event.start.wall, null);
  const deliveries = record.delivery.map(shareOf).join(", ");
  const clips = clipsOf(event);
  document.getElementById("event-facts").replaceChildren(
    ...fact("began", why ? t("time.uncertain", { time: began }) : began, why),
    ...fact("lasted", lasted(event)),
    ...fact("what", named("event.kind", event.kind)),
    ...fact("certainty", percent(event.score)),
    ...fact("count", event.count > 1 ? String(event.count) : ""),
    ...fact("rule", event.rule),
    ...fact("zones", event.zones.join(", ")),
    ...fact("model", event.model),
    ...fact("clip", clipFacts(clips)),
    ...fact("delivery", deliveries),
    ...fact("id", event.id),
  );
  const files = [...clips, ...(event.pictures ?? [])];
  const links = files.map((file) => element("li", {}, element("a", { href: url(event.id, file.file), download: `${event.camera}-${event.id}-${file.file}` }, file.file), ` ${bytes(file.bytes)}`));
  document.getElementById("event-files").replaceChildren(...links, element("li", {}, element("a", { href: url(event.id, "event.json"), download: `${event.id}.json` }, "event.json")));
  const snapshot = picture(event, "snapshot-boxes.jpg", "snapshot.jpg");
  const image = document.getElementById("event-snapshot");
  image.hidden = !snapshot;
  if (snapshot) {
    image.src = url(event.id, snapshot);
    image.alt = t("event.best_look", event);
  }
  video.hidden = clips.length === 0;
  if (clips.length > 0) {
    notice(null);
    play(event, 0);
  } else {
    video.removeAttribute("src");
    notice(t(event.state === "open" ? "event.comes" : "event.no_clip"));
  }
}

/** A running clip is not disturbed by a poll. */
function refill(record) {
  const before = opened;
  opened = record;
  if (JSON.stringify(before) === JSON.stringify(record)) return;
  const clips = JSON.stringify(clipsOf(record.event));
  const playing = before.event.clip && JSON.stringify(clipsOf(before.event)) === clips;
  if (!playing) fill(record);
}

video.addEventListener("error", () => {
  if (!opened?.event.clip || !video.getAttribute("src")) return;
  video.hidden = true;
  const { id } = opened.event;
  const clip = clipsOf(opened.event)[Number(video.dataset.file)] ?? opened.event.clip;
  notice(t("event.not_played", clip), url(id, clip.file));
});

async function open(id) {
  let record = cards.get(id)?.record;
  if (!record) {
    const response = await fetch(`/api/v1/events/${encodeURIComponent(id)}`).catch(() => null);
    if (!response?.ok) return;
    record = await response.json();
  }
  opened = record;
  fill(record);
  if (!dialog.open) dialog.showModal();
  history.replaceState(null, "", `#${id}`);
}

dialog.addEventListener("close", () => {
  opened = null;
  video.pause();
  video.removeAttribute("src");
  video.load();
  history.replaceState(null, "", location.pathname);
});
document.getElementById("event-close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (click) => {
  if (click.target === dialog) dialog.close();
});

if (/^#[0-9A-Z]{26}$/.test(location.hash)) open(location.hash.slice(1));
