// One card per camera. Pictures are fetched only while they are visible.

import { makeStrip, refreshStrip } from "./coverage.js";
import { element, setText } from "./dom.js";
import { ago, duration } from "./format.js";
import { attachLive, detachLive, isPlaying, updateLive } from "./live.js";
import { makeSwitches, updateSwitches } from "./switches.js";
import { because, named, t } from "./texts.js";

const REFRESH_MS = 2000;
const PAST_TRIES = 5;
/** So many fill a screen. */
const FIRST_CARDS = 12;
/** From so many cameras on the cards may be small, and from more on they are at first. */
const FEW = 6;
const MANY = 12;
const list = document.getElementById("cameras");
const cards = new Map();

/** Whether the cards are small, where that was chosen. */
let chosen = null;
const isCompact = () => cards.size > FEW && (chosen ?? cards.size > MANY);
const compact = element("button", { type: "button", class: "button", "aria-pressed": "false", hidden: true }, t("overview.compact"));
compact.addEventListener("click", () => {
  chosen = !isCompact();
  showDensity();
  refreshNow();
});
document.getElementById("cameras-title").after(compact);

function showDensity() {
  compact.hidden = cards.size <= FEW;
  compact.setAttribute("aria-pressed", String(isCompact()));
  list.classList.toggle("compact", isCompact());
}

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const card = cards.get(entry.target.dataset.camera);
    if (card) card.visible = entry.isIntersecting;
  }
});

function makeCard(name) {
  const picture = element("div", { class: "picture" });
  const blank = element("p", { class: "blank" }, t("camera.no_picture"));
  const chip = element("span", { class: "chip" });
  const objects = element("span", { class: "chip objects" });
  picture.append(blank, chip, objects);
  const facts = element("p", { class: "quiet" });
  const events = element("a", { class: "camera-events", href: `/events?camera=${encodeURIComponent(name)}` });
  const reason = element("p", { class: "reason" });
  const strip = makeStrip(name);
  const switches = makeSwitches(name);
  const caption = element("div", { class: "caption" }, element("h3", {}, name), facts, events, reason, strip.root, switches.root);
  const root = element("li", { class: "camera" }, picture, caption);
  root.dataset.camera = name;
  const card = { name, root, picture, blank, chip, objects, facts, events, reason, strip, switches, image: null, visible: false, busy: false, live: false, past: false, tries: 0 };
  attachLive(card);
  watcher.observe(root);
  return card;
}

/** What stands where a picture would be. */
function blankWords(card, camera) {
  if (card.live) return t("camera.nothing_to_show");
  if (card.past) return t("camera.last_picture", { ago: ago(camera.last_packet_age_s) });
  return t(camera.state === "offline" ? "camera.none_since_start" : "camera.no_picture");
}

function updateCard(card, camera) {
  // Pictures come in both states, unless the camera is said to be silent.
  card.live = (camera.state === "online" || camera.state === "degraded") && !camera.stages.includes("reception");
  card.past = !card.live && camera.last_packet_age_s !== null;
  if (card.live) card.tries = 0;
  updateLive(card.name, { live: card.live, codec: camera.codec });
  card.root.dataset.state = camera.state;
  card.root.dataset.picture = card.past && camera.state !== "finished" ? "past" : "";
  setText(card.chip, named("camera.state", camera.state));
  card.objects.hidden = !card.live || camera.objects === 0;
  setText(card.objects, t("camera.objects", { count: camera.objects }));
  const size = camera.width ? `${camera.width} × ${camera.height}` : "";
  const rates = card.live
    ? [t("camera.fps", { n: camera.fps.toFixed(camera.fps < 10 ? 1 : 0) }), camera.detect_fps ? t("camera.analysed", { n: camera.detect_fps.toFixed(1) }) : "", camera.motion ? t("camera.motion") : ""]
    : [];
  setText(card.blank, blankWords(card, camera));
  const by = camera.client === "libavformat" ? t("camera.by_libavformat") : "";
  const over = camera.transport?.startsWith("UDP") ? t("camera.over_udp") : "";
  card.facts.title = camera.client_reason ?? (over && camera.transport);
  setText(card.facts, [camera.codec, size, ...rates, by, over].filter(Boolean).join(" · ") || t("camera.unknown"));
  const since = camera.state === "offline" ? t("camera.offline_for", { time: duration(camera.state_for_s) }) : camera.state === "degraded" ? t("camera.for", { time: duration(camera.state_for_s) }) : "";
  const seen = card.past ? t("camera.last_picture", { ago: ago(camera.last_packet_age_s) }) : "";
  const why = camera.state === "online" ? because(camera.cause, camera.not_detected) : [because(camera.cause, camera.reason), [since, seen].filter(Boolean).join(", ")].filter(Boolean).join(". ");
  setText(card.events, camera.events_today === undefined ? "" : t("camera.events_today", { count: camera.events_today }));
  updateSwitches(card.switches, camera);
  setText(card.reason, why);
  card.reason.classList.toggle("address", /^\w+:\/\//.test(why));
  card.reason.hidden = why === "";
}

export function showCameras(cameras, areNone) {
  const names = new Set(cameras.map((camera) => camera.name));
  for (const [name, card] of cards) {
    if (!names.has(name)) {
      watcher.unobserve(card.root);
      detachLive(name);
      card.root.remove();
      cards.delete(name);
    }
  }
  cameras.forEach((camera, place) => {
    let card = cards.get(camera.name);
    if (!card) {
      card = makeCard(camera.name);
      cards.set(camera.name, card);
    }
    if (list.children[place] !== card.root) list.insertBefore(card.root, list.children[place] ?? null);
    updateCard(card, camera);
  });
  showDensity();
  document.getElementById("no-cameras").hidden = !areNone;
}

/** Loads beside the shown picture and swaps, so that nothing flickers. */
async function refresh(card) {
  if (card.visible && !document.hidden && !isCompact()) refreshStrip(card.strip);
  // The last picture does not change; where there is none to show, asking again and again does not help.
  const lacksPast = card.past && card.image === null && card.tries < PAST_TRIES;
  if (card.busy || !card.visible || document.hidden || isPlaying(card.name) || !(card.live || lacksPast)) return;
  card.busy = true;
  if (lacksPast) card.tries += 1;
  const next = element("img", { alt: t(card.live ? "camera.alt.newest" : "camera.alt.last", { camera: card.name }) });
  next.src = `/api/v1/cameras/${encodeURIComponent(card.name)}/${card.live ? "frame" : "last"}.jpg?t=${Date.now()}`;
  try {
    await next.decode();
    if (card.image) card.image.replaceWith(next);
    else card.picture.prepend(next);
    card.image = next;
    card.blank.hidden = true;
  } catch {
    // 503 while there is no picture: what was shown stays, the chip says how the camera is doing.
    card.blank.hidden = card.image !== null;
  } finally {
    card.busy = false;
  }
}

setInterval(() => cards.forEach(refresh), REFRESH_MS);
document.addEventListener("visibilitychange", () => cards.forEach(refresh));

export function refreshNow() {
  requestAnimationFrame(() => setTimeout(() => cards.forEach(refresh), 50));
}

/** Loads the days of the first cameras, which stand at the top. */
export const firstStrips = () => Promise.all([...cards.values()].slice(0, isCompact() ? 0 : FIRST_CARDS).map(({ strip }) => refreshStrip(strip)));
