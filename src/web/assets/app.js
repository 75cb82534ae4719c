// Follows what the box says of itself, and shows it; asks every two seconds where it cannot be followed.

import { query, showEvents } from "./events.js";
import { firstStrips, refreshNow, showCameras } from "./cameras.js";
import { hasNoCamera, headline, showConcerns } from "./concerns.js";
import { showDisk, showOutlets, showTotals } from "./delivery.js";
import { setText, showFilled } from "./dom.js";
import { toLogin } from "./form.js";
import { duration, localTime } from "./format.js";
import { t } from "./texts.js";

const EVERY_MS = 2000;
const HIDDEN_EVERY_MS = 60000;
const SLOWEST_MS = 30000;
const ANSWER_WITHIN_MS = 10000;
const TOGETHER_MS = 300;

const unreachable = document.getElementById("unreachable");
let failures = 0;
let lastAnswer = null;
let timer = null;
let round = 0;
let stream = null;
let eventsDue = null;
let listed = null; // the list as it was answered last: { path, tag, body }
let boxTime = 0; // the clock of the box, and when it was read here
let boxTimeAt = 0;

async function get(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
  // The session is over: nothing here is up to date any more.
  if (response.status === 401) toLogin();
  const body = await response.json();
  if (!response.ok) throw new Error(body?.detail ?? `status ${response.status}`);
  return body;
}

function showClock(now) {
  setText(document.getElementById("clock"), localTime(now.toISOString(), now));
}

function showStatus(status) {
  setText(document.getElementById("device"), status.device);
  setText(document.getElementById("site"), status.site);
  document.title = `${status.summary.level === "ok" ? "" : "● "}${status.device} · Outpost`;
  const summary = document.getElementById("summary");
  summary.dataset.level = status.summary.level;
  setText(document.getElementById("summary-text"), headline(status));
  showConcerns(status.concerns, () => poll());
  showClock(new Date(status.time));
  const hint = document.getElementById("time-hint");
  setText(hint, status.time_quality === "synchronised" ? "" : t(`time.hint.${status.time_quality}`));
  hint.hidden = hint.textContent === "";
  showCameras(status.cameras, hasNoCamera(status.concerns));
  showOutlets(status.outlets);
  showDisk(status.disk);
  showTotals(status);
}

function showFailure(error) {
  document.body.classList.add("stale");
  const since = lastAnswer ? t("error.old", { time: duration(Math.round((Date.now() - lastAnswer) / 1000)) }) : "";
  const isSilent = error.name === "TypeError" || error.name === "TimeoutError";
  const reason = isSilent ? t("error.no_answer") : t("error.unwell", { reason: error.message });
  setText(unreachable, [reason, since, t("error.again")].filter(Boolean).join(" "));
  unreachable.hidden = false;
}

/** Takes in what the box says of itself; the list of events is asked for where it may have changed. */
function answered() {
  failures = 0;
  lastAnswer = Date.now();
  unreachable.hidden = true;
  document.body.classList.remove("stale");
}

const boxNow = () => new Date(boxTime + Date.now() - boxTimeAt);

function takeStatus(status) {
  const first = lastAnswer === null || failures > 0;
  answered();
  boxTime = Date.parse(status.time);
  boxTimeAt = Date.now();
  showStatus(status);
  if (first) refreshNow();
}

/** The list again. One that has not changed is not sent again. */
async function refreshEvents() {
  const path = `/api/v1/events?${query()}`;
  const mine = ++round;
  const headers = listed?.path === path ? { "if-none-match": listed.tag } : {};
  const response = await fetch(path, { headers, signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
  if (mine !== round) return; // a newer question was asked meanwhile
  if (response.status !== 304) {
    const body = await response.json();
    if (!response.ok) throw new Error(body?.detail ?? `status ${response.status}`);
    if (mine !== round) return;
    listed = { path, tag: response.headers.get("etag"), body };
  }
  showEvents(listed.body, boxNow());
}

/** Asks for both, where the box cannot be followed. */
async function poll() {
  clearTimeout(timer);
  try {
    takeStatus(await get("/api/v1/status"));
    await refreshEvents();
    if (document.body.classList.contains("filling")) await firstStrips();
  } catch (error) {
    failures += 1;
    showFailure(error);
  }
  showFilled();
  if (stream?.readyState === EventSource.OPEN) return;
  const pause = Math.min(EVERY_MS * 2 ** Math.min(failures, 10), SLOWEST_MS);
  timer = setTimeout(poll, document.hidden ? HIDDEN_EVERY_MS : pause);
}

/** Several changes at once cost one look. */
function soon() {
  eventsDue ??= setTimeout(() => {
    eventsDue = null;
    refreshEvents().catch(poll);
  }, TOGETHER_MS);
}

/** The box reports what changes. While it does not, it is asked. */
function follow() {
  stream = new EventSource("/api/v1/stream?kinds=events,status");
  stream.addEventListener("open", () => {
    clearTimeout(timer);
    soon();
  });
  stream.addEventListener("status", ({ data }) => takeStatus(JSON.parse(data)));
  stream.addEventListener("deliveries", ({ data }) => {
    answered();
    showOutlets(JSON.parse(data).outlets);
    soon();
  });
  for (const name of ["start", "update", "end", "delete", "reset"]) stream.addEventListener(name, soon);
  stream.addEventListener("error", () => {
    // A browser does not try again by itself where the answer was no stream.
    if (stream.readyState === EventSource.CLOSED) setTimeout(follow, SLOWEST_MS);
    clearTimeout(timer);
    timer = setTimeout(poll, EVERY_MS);
  });
}

// Between two messages the clock goes on.
setInterval(() => {
  if (lastAnswer !== null && !document.hidden) showClock(boxNow());
}, EVERY_MS);

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) poll();
});
poll();
follow();
