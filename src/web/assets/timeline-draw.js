// The strips of the timeline as pictures: a colour and a pattern for each state, marks for events, the axis of time.

import { locale } from "./texts.js";

/** All states, in the order of the legend. */
export const STATES = ["recorded", "uploaded", "evicted", "watched", "offline", "shed", "stopped"];
const TROUBLE = ["offline", "shed"];
/** What a state looks like: its colour, and which pattern lies over it. */
const LOOKS = {
  recorded: ["--accent", ""],
  uploaded: ["--good", "line"],
  evicted: ["--quiet", "slant"],
  watched: ["--good-soft", "low"],
  offline: ["--bad", "cross"],
  shed: ["--warn", "bars"],
  stopped: ["--picture", "low"],
};
/** Marks of events that are closer together cover each other, pixels. */
const NARROWEST = 22;
const SECOND = 1000;
const DAY = 86400 * SECOND;
/** Distances of the labels, and how they look. */
const STEPS = [
  [1, 5, 10, 15, 30].map((n) => n * SECOND),
  [1, 2, 5, 10, 15, 30].map((n) => n * 60 * SECOND),
  [1, 2, 3, 6, 12].map((n) => n * 3600 * SECOND),
  [1, 2, 5, 10].map((n) => n * DAY),
].flat();
const withSeconds = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const withMinutes = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const withDay = new Intl.DateTimeFormat(locale, { month: "short", day: "numeric" });

let colours = {};
let patterns = {};

/** Reads the colours of the page afresh: they follow the system's choice of light or dark. */
export function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["--accent", "--good", "--good-soft", "--quiet", "--bad", "--warn", "--picture", "--text", "--panel", "--line"];
  colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(name).trim()]));
  patterns = {};
}

/** A canvas of the size that it is shown at, sharp on every screen. */
function begin(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  const to = canvas.getContext("2d");
  to.setTransform(ratio, 0, 0, ratio, 0, 0);
  to.clearRect(0, 0, width, height);
  return [to, width, height];
}

function pattern(to, kind) {
  if (patterns[kind]) return patterns[kind];
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const on = tile.getContext("2d");
  on.strokeStyle = on.fillStyle = colours["--panel"];
  on.lineWidth = 1.5;
  const line = (x, y, to_x, to_y) => {
    on.beginPath();
    on.moveTo(x, y);
    on.lineTo(to_x, to_y);
    on.stroke();
  };
  if (kind === "slant" || kind === "cross") [-8, 0, 8].forEach((x) => line(x, 8, x + 8, 0));
  if (kind === "cross") [-8, 0, 8].forEach((x) => line(x, 0, x + 8, 8));
  if (kind === "bars") on.fillRect(0, 0, 3, 8);
  patterns[kind] = to.createPattern(tile, "repeat");
  return patterns[kind];
}

function fill(to, state, x, y, width, height) {
  const [colour, kind] = LOOKS[state] ?? LOOKS.stopped;
  to.fillStyle = colours[colour];
  if (kind === "low") {
    to.fillRect(x, y + height * 0.7, width, height * 0.3);
    return;
  }
  to.fillRect(x, y, width, height);
  if (kind === "line") {
    to.fillStyle = colours["--panel"];
    to.fillRect(x, y + height / 2 - 1, width, 2);
  } else if (kind && width >= 3) {
    to.fillStyle = pattern(to, kind);
    to.fillRect(x, y, width, height);
  }
}

/** The events of a strip as they are drawn: those whose marks would cover each other are one, with the number of all. */
export function marksOf(strip, view, width) {
  const marks = [];
  for (const mark of strip?.events ?? []) {
    const x = ((mark.from - view.from) / (view.until - view.from)) * width;
    if (x < -NARROWEST || x > width + NARROWEST) continue;
    const last = marks.at(-1);
    if (last && x - last.x < NARROWEST) {
      last.count += mark.count;
      last.until = mark.until === null || last.until === null ? null : Math.max(last.until, mark.until);
    } else marks.push({ ...mark, x });
  }
  return marks;
}

/** One camera's strip, as the API gives it. */
export function drawRow(canvas, strip, view) {
  const [to, width, height] = begin(canvas);
  const place = (time) => ((time - view.from) / (view.until - view.from)) * width;
  const [top, deep] = [12, height - 18];
  for (const span of strip?.spans ?? []) {
    const [x, end] = [Math.max(place(span.from), 0), Math.min(place(span.until), width)];
    if (end <= 0 || x >= width) continue;
    fill(to, span.state, x, top, Math.max(end - x, 1), deep);
    const trouble = (span.also ?? []).find((state) => TROUBLE.includes(state));
    if (trouble) fill(to, trouble, x, top + deep - 5, Math.max(end - x, 2), 5);
  }
  for (const { x, until, count } of marksOf(strip, view, width)) {
    to.fillStyle = colours["--text"];
    if (until !== null) to.fillRect(x, 7, Math.max(Math.min(place(until), width) - x, 1), 2);
    to.beginPath();
    to.moveTo(x - 4, 0);
    to.lineTo(x + 4, 0);
    to.lineTo(x, 9);
    to.fill();
    if (count > 1) {
      to.font = "600 9px system-ui, sans-serif";
      to.fillText(String(count), x + 5, 7);
    }
  }
}

/** The local midnight at or before `time`: where labels of days stand. */
function midnight(time) {
  const at = new Date(time);
  at.setHours(0, 0, 0, 0);
  return at.getTime();
}

export function drawAxis(canvas, view, now) {
  const [to, width, height] = begin(canvas);
  const length = view.until - view.from;
  const step = STEPS.find((candidate) => (candidate / length) * width >= 76) ?? STEPS.at(-1);
  to.font = "12px system-ui, sans-serif";
  to.textBaseline = "top";
  const origin = midnight(view.from);
  for (let n = Math.floor((view.from - origin) / step); ; n += 1) {
    // Days are counted by the calendar: some have 23 or 25 hours.
    const time = step >= DAY ? new Date(origin).setDate(new Date(origin).getDate() + n * (step / DAY)) : origin + n * step;
    if (time > view.until) break;
    const x = ((time - view.from) / length) * width;
    const isDay = midnight(time) === time;
    to.fillStyle = colours["--line"];
    to.fillRect(x, height - 8, 1, 8);
    to.fillStyle = isDay ? colours["--text"] : colours["--quiet"];
    const text = (isDay ? withDay : step < 60 * SECOND ? withSeconds : withMinutes).format(time);
    to.fillText(text, x + 4, 10);
  }
  const x = ((now - view.from) / length) * width;
  if (x >= 0 && x <= width) {
    to.fillStyle = colours["--accent"];
    to.fillRect(x - 1, 0, 2, height);
  }
}

export function drawSample(canvas, state) {
  const [to, width, height] = begin(canvas);
  fill(to, state, 0, 0, width, height);
}
