// A camera's last day as a strip: what was recorded, deleted, offline, shed. The words below say the same.

import { element, setText } from "./dom.js";
import { duration } from "./format.js";
import { t } from "./texts.js";

const EVERY_MS = 60000;
const SVG = "http://www.w3.org/2000/svg";
// Thinner than this is invisible: 24 hours are 1440 units wide.
const THINNEST = 2;
const STATES = ["uploaded", "recorded", "evicted", "shed", "offline", "stopped"];

export function makeStrip(camera) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "strip");
  svg.setAttribute("viewBox", "0 0 1440 10");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const words = element("p", { class: "quiet strip-words" });
  const root = element("div", { class: "coverage" }, svg, words);
  root.hidden = true;
  return { camera, root, svg, words, due: 0, busy: false };
}

function sentence(seconds) {
  const parts = STATES.filter((state) => (seconds[state] ?? 0) >= 1).map((state) => t(`coverage.${state}`, { time: duration(seconds[state]) }));
  return t("coverage.day", { parts: parts.join(", ") || t("coverage.nothing") });
}

function draw(strip, timeline) {
  const begin = Date.parse(timeline.since);
  const length = Date.parse(timeline.until) - begin;
  if (!(length > 0)) return;
  const place = (time) => (1440 * (Date.parse(time) - begin)) / length;
  const pieces = timeline.coverage.map(({ from, until, state, reason }) => {
    const piece = document.createElementNS(SVG, "rect");
    const x = place(from);
    piece.setAttribute("x", x.toFixed(2));
    piece.setAttribute("width", Math.max(place(until) - x, state === "watched" ? 0 : THINNEST).toFixed(2));
    piece.setAttribute("height", "10");
    piece.setAttribute("class", `is-${state}`);
    const title = document.createElementNS(SVG, "title");
    title.textContent = reason ? `${state}: ${reason}` : state;
    piece.append(title);
    return piece;
  });
  strip.svg.replaceChildren(...pieces);
  const words = sentence(timeline.seconds);
  strip.svg.setAttribute("aria-label", words);
  setText(strip.words, words);
  strip.root.hidden = false;
}

/** Asks again when a minute has passed since the last answer. */
export async function refreshStrip(strip) {
  if (strip.busy || Date.now() < strip.due) return;
  strip.busy = true;
  try {
    const response = await fetch(`/api/v1/cameras/${encodeURIComponent(strip.camera)}/timeline`);
    if (response.ok) draw(strip, await response.json());
  } catch {
    // The banner shows when the box does not answer; what was shown stays.
  } finally {
    strip.busy = false;
    strip.due = Date.now() + EVERY_MS;
  }
}
