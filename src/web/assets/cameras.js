// One card per camera. Pictures are fetched only while they are visible.

import { makeStrip, refreshStrip } from "./coverage.js";
import { element, setText } from "./dom.js";
import { ago, duration } from "./format.js";
import { attachLive, detachLive, isPlaying, updateLive } from "./live.js";
import { makeSwitches, updateSwitches } from "./switches.js";
import { because, named, t } from "./texts.js";

const REFRESH_MS = 2000;
/** How long a picture is good enough where something only moves, and where nothing does: an open page costs a thin link little. */
const MOVING_MS = 10000;
const STILL_MS = 30000;
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
  const publish = element("p", { hidden: "" }, element("a", { href: `/cameras/${encodeURIComponent(name)}/publish` }, t("publish.open")));
  const strip = makeStrip(name);
  const switches = makeSwitches(name);
  const caption = element("div", { class: "caption" }, element("h3", {}, name), facts, events, reason, publish, strip.root, switches.root);
  const root = element("li", { class: "camera" }, picture, caption);
  root.dataset.camera = name;
  const card = { name, root, picture, blank, chip, objects, facts, events, reason, publish, strip, switches, image: null, visible: false, busy: false, loaded: 0, lasts: 0, live: false, past: false, tries: 0 };
  attachLive(card);
  watcher.observe(root);
  return card;
}

/** What stands where a picture would be. */
function blankWords(card, camera) {
  if (card.live) return t("camera.nothing_to_show");
  if (card.past) return t("camera.last_picture", { ago: ago(camera.last_packet_age_s) });
  return t(["offline", "idle"].includes(camera.state) ? "camera.none_since_start" : "camera.no_picture");
}

function updateCard(card, camera) {
  // Pictures come in both states, unless the camera is said to be silent.
  card.live = (camera.state === "online" || camera.state === "degraded") && !camera.stages.includes("reception");
  card.past = !card.live && camera.last_packet_age_s !== null;
  if (card.live) card.tries = 0;
  card.lasts = camera.objects > 0 ? 0 : camera.motion ? MOVING_MS : STILL_MS;
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
  const { publisher, players, received } = camera.webrtc ?? {};
  const sender = publisher ?? received;
  const lost = sender?.packets_lost ? t("camera.packets_lost", { percent: (100 * sender.packets_lost / (sender.packets + sender.packets_lost)).toFixed(1) }) : "";
  const sessions = [publisher ? t("camera.published_by", { name: publisher.by }) : "", lost, players ? t("camera.players", { count: players }) : ""];
  card.facts.title = [camera.client_reason ?? (over && camera.transport), camera.audio_note && t("setup.sound_unfit")].filter(Boolean).join("\n");
  setText(card.facts, [[camera.codec, camera.audio].filter(Boolean).join(" + "), size, ...rates, by, over, ...sessions].filter(Boolean).join(" · ") || t("camera.unknown"));
  const since = camera.state === "offline" ? t("camera.offline_for", { time: duration(camera.state_for_s) }) : camera.state === "degraded" ? t("camera.for", { time: duration(camera.state_for_s) }) : "";
  const seen = card.past ? t("camera.last_picture", { ago: ago(camera.last_packet_age_s) }) : "";
  const why = camera.state === "online" ? because(camera.cause, camera.not_detected) : [because(camera.cause, camera.reason), [since, seen].filter(Boolean).join(", ")].filter(Boolean).join(". ");
  setText(card.events, camera.events_today === undefined ? "" : t("camera.events_today", { count: camera.events_today }));
  updateSwitches(card.switches, camera);
  setText(card.reason, why);
  card.reason.classList.toggle("address", /^\w+:\/\//.test(why));
  card.reason.hidden = why === "";
  card.publish.hidden = camera.state !== "idle";
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

/** How wide a picture has to be, pixels of the screen. */
const widthOf = (card) => Math.min(640, Math.max(1, Math.ceil(card.picture.clientWidth * devicePixelRatio)));

/** Loads beside the shown picture and swaps, so that nothing flickers. */
async function refresh(card) {
  if (card.visible && !document.hidden && !isCompact()) refreshStrip(card.strip);
  // The last picture does not change; where there is none to show, asking again and again does not help.
  const lacksPast = card.past && card.image === null && card.tries < PAST_TRIES;
  if (card.busy || !card.visible || document.hidden || isPlaying(card.name) || !(card.live || lacksPast)) return;
  if (card.live && card.image && performance.now() - card.loaded < card.lasts) return;
  card.busy = true;
  if (lacksPast) card.tries += 1;
  const next = element("img", { alt: t(card.live ? "camera.alt.newest" : "camera.alt.last", { camera: card.name }) });
  next.src = `/api/v1/cameras/${encodeURIComponent(card.name)}/${card.live ? "frame" : "last"}.jpg?width=${widthOf(card)}&t=${Date.now()}`;
  try {
    await next.decode();
    if (card.image) card.image.replaceWith(next);
    else card.picture.prepend(next);
    card.image = next;
    card.loaded = performance.now();
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
