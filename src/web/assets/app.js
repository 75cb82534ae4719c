// Asks the box every two seconds and shows what it says.

import { offerCameras, onFilter, query, showEvents } from "./events.js";
import { refreshNow, showCameras } from "./cameras.js";
import { showDisk, showOutlets, showTotals } from "./delivery.js";
import { duration, localTime, setText } from "./format.js";
import { send } from "./form.js";
import { showNav } from "./nav.js";

const EVERY_MS = 2000;
const HIDDEN_EVERY_MS = 60000;
const SLOWEST_MS = 30000;
const ANSWER_WITHIN_MS = 10000;

const unreachable = document.getElementById("unreachable");
let failures = 0;
let lastAnswer = null;
let timer = null;
let round = 0;

async function get(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
  // The session is over: nothing here is up to date any more.
  if (response.status === 401) location.assign("/login");
  const body = await response.json();
  if (!response.ok) throw new Error(body?.error?.message ?? `status ${response.status}`);
  return body;
}

const TIME_HINTS = {
  unsynchronised: "This box's clock is not synchronised. Times shown here may be wrong.",
  implausible: "This box's clock has never been set. Times shown here are wrong until it is.",
};

function showStatus(status) {
  setText(document.getElementById("device"), status.device);
  setText(document.getElementById("site"), status.site);
  document.title = `${status.summary.level === "ok" ? "" : "● "}${status.device} · Outpost`;
  const summary = document.getElementById("summary");
  summary.dataset.level = status.summary.level;
  setText(document.getElementById("summary-text"), status.summary.text);
  setText(document.getElementById("clock"), localTime(status.time, new Date(status.time)));
  const hint = document.getElementById("time-hint");
  setText(hint, TIME_HINTS[status.time_quality] ?? "");
  hint.hidden = hint.textContent === "";
  showCameras(status.cameras);
  offerCameras(status.cameras.map((camera) => camera.name));
  showOutlets(status.outlets);
  showDisk(status.disk);
  showTotals(status);
}

function showFailure(error) {
  document.body.classList.add("stale");
  const since = lastAnswer ? `What you see is ${duration(Math.round((Date.now() - lastAnswer) / 1000))} old. ` : "";
  const reason = error.name === "TypeError" || error.name === "TimeoutError" ? "The box does not answer." : `The box answers, but not well: ${error.message}.`;
  setText(unreachable, `${reason} ${since}Trying again …`);
  unreachable.hidden = false;
}

async function poll() {
  clearTimeout(timer);
  const mine = ++round;
  try {
    const [status, events] = await Promise.all([get("/api/v1/status"), get(`/api/v1/events?${query()}`)]);
    if (mine !== round) return; // a newer question was asked meanwhile
    const first = lastAnswer === null || failures > 0;
    failures = 0;
    lastAnswer = Date.now();
    unreachable.hidden = true;
    document.body.classList.remove("stale");
    showStatus(status);
    showEvents(events, new Date(status.time));
    if (first) refreshNow();
  } catch (error) {
    if (mine !== round) return;
    failures += 1;
    showFailure(error);
  }
  const pause = Math.min(EVERY_MS * 2 ** Math.min(failures, 10), SLOWEST_MS);
  timer = setTimeout(poll, document.hidden ? HIDDEN_EVERY_MS : pause);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) poll();
});
onFilter(poll);
poll();

send("GET", "/api/v1/me")
  .then((me) => showNav(document.getElementById("nav"), me))
  .catch(() => null);
