// Queues, configuration, parts and log of the box.

import { byId, element, setText, showFilled } from "./dom.js";
import { button, send, show } from "./form.js";
import { bytes, duration, when } from "./format.js";
import { keys } from "./keys.js";
import { locale, named, t } from "./texts.js";

const EVERY_MS = 5000;
const RETRY_MS = 30000;
const LINES_SHOWN = 1000;
const mayAct = document.body.dataset.acts === "true";
const [outletChoice, stateChoice, levelChoice, log] = ["queue-outlet", "queue-state", "log-level", "log"].map(byId);
const cell = (text, kind = "") => element("td", { class: kind }, text);
let lastLine = 0;
let stream = null;

// The queue of one outlet.

function itemRow(outlet, item) {
  const outcome = byId("queue-outcome");
  const act = (name, question) => button(t(`system.${name}`), outcome, async () => {
    await send("POST", `/api/v1/queue/${name}`, { outlet, seq: item.seq });
    await showQueue();
  }, question);
  const acts = element("td", { class: "acts" });
  if (mayAct) {
    if (item.state !== "sending") acts.append(act("retry"));
    acts.append(act("drop", t("system.drop_sure", { what: item.what })));
  }
  const what = cell(item.event ? element("a", { href: `/#${item.event}` }, item.what) : item.what);
  if (item.error) what.append(element("span", { class: "reason" }, item.error));
  const rests = item.rests_s ? t("system.rests", { n: item.attempts, time: duration(item.rests_s) }) : item.attempts.toLocaleString(locale);
  return element("tr", {}, what, cell(item.bytes ? bytes(item.bytes) : "–", "num"), cell(when(item.created.wall)), cell(rests), acts);
}

async function showQueue() {
  const outlet = outletChoice.value;
  if (!outlet) return;
  const query = new URLSearchParams({ outlet, state: stateChoice.value, limit: "100" });
  const { items } = await send("GET", `/api/v1/queue/items?${query}`);
  byId("queue").replaceChildren(...items.map((item) => itemRow(outlet, item)));
  byId("queue-empty").hidden = items.length > 0;
}

function offerOutlets(outlets) {
  const known = new Set([...outletChoice.options].map((option) => option.value));
  for (const { name } of outlets) if (!known.has(name)) outletChoice.append(element("option", { value: name }, name));
  byId("queue-title").closest("section").hidden = outlets.length === 0;
  byId("queue-empty").hidden = byId("queue").children.length > 0;
}

// Configuration, parts.

function showConfig(config) {
  const said = named("system.config_state", config.state);
  setText(byId("config-state"), config.reason ? `${said}: ${config.reason}` : said);
  setText(byId("config-file"), config.file ?? "");
  const problems = config.problems.map(({ line, column, message }) => element("li", {}, line ? t("system.problem", { line, column: column ?? 1, message }) : message));
  byId("config-problems").replaceChildren(...problems);
}

// Only admins have a place for it.
function showCertificate(certificate) {
  const place = byId("certificate");
  if (!place) return;
  place.hidden = !certificate;
  setText(byId("certificate-sha256"), certificate?.sha256 ?? "");
}

function showParts(parts) {
  const rows = parts.map(({ name, silent_for_s: silent, late }) =>
    element("tr", {}, element("th", { scope: "row" }, name), cell(t(late ? "system.late" : "system.alive"), late ? "late" : ""), cell(duration(silent), "num")));
  byId("parts").replaceChildren(...rows);
}

/** What goes on beside recording; only those who may act have a place for it. */
async function showJobs() {
  const place = byId("jobs");
  if (!place) return;
  const { jobs } = await send("GET", "/api/v1/jobs");
  const rows = jobs.map(({ kind, subject, state, done, total, by, since, reason }) => {
    const what = cell([named("system.job", kind), subject, by].filter(Boolean).join(" · "));
    if (reason) what.append(element("span", { class: "reason" }, reason));
    const count = (n) => n.toLocaleString(locale);
    const progress = kind === "export" ? `${done} %` : done === undefined ? "–" : total === undefined ? count(done) : `${count(done)} / ${count(total)}`;
    return element("tr", {}, what, cell(named("system.job_state", state), state === "failed" ? "late" : ""), cell(progress, "num"), cell(since ? when(since) : "–"));
  });
  place.replaceChildren(...rows);
  byId("jobs-none").hidden = rows.length > 0;
}

// The log: sent as it is written. Where that cannot be, it is asked for with the rest.

const arrived = [];

/** Shows lines with the next picture of the page: of a flood, the last ones together. */
function append(items) {
  if (arrived.length === 0) requestAnimationFrame(draw);
  arrived.push(...items);
  if (arrived.length > LINES_SHOWN) arrived.splice(0, arrived.length - LINES_SHOWN);
}

function draw() {
  const items = arrived.splice(0);
  // Someone who reads further up is not taken away from there.
  const follows = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
  log.append(...items);
  while (log.children.length > LINES_SHOWN) log.firstChild.remove();
  if (follows) log.scrollTop = log.scrollHeight;
}

const line = ({ time, level, text }) => element("li", { "data-level": level }, `${new Date(time).toLocaleTimeString(locale)}  ${text}`);

function followLog() {
  stream?.close();
  stream = null;
  if (document.hidden) return;
  log.replaceChildren();
  arrived.length = 0;
  lastLine = 0;
  const query = new URLSearchParams({ level: levelChoice.value, recent: String(LINES_SHOWN) });
  stream = new EventSource(`/api/v1/log/stream?${query}`);
  stream.addEventListener("line", ({ data }) => {
    const one = JSON.parse(data);
    if (one.seq <= lastLine) return; // the page had asked for it meanwhile
    lastLine = one.seq;
    append([line(one)]);
  });
  stream.addEventListener("gap", ({ data }) => append([element("li", { class: "quiet" }, t("system.log_gap", JSON.parse(data)))]));
  stream.addEventListener("reset", () => {
    // The daemon was started again, and numbers its lines from 1.
    lastLine = 0;
    append([element("li", { class: "quiet" }, t("system.log_begins"))]);
  });
  stream.addEventListener("error", () => {
    if (stream.readyState === EventSource.CLOSED) setTimeout(followLog, RETRY_MS);
  });
}

async function showLog() {
  if (!log || (stream && stream.readyState !== EventSource.CLOSED)) return;
  const query = new URLSearchParams({ after: String(lastLine), level: levelChoice.value, limit: String(LINES_SHOWN) });
  const { lines } = await send("GET", `/api/v1/log?${query}`);
  if (lines.length === 0) return;
  lastLine = lines.at(-1).seq;
  append(lines.map(line));
}

async function showStatus() {
  const status = await send("GET", "/api/v1/status");
  offerOutlets(status.outlets);
  showConfig(status.config);
  showCertificate(status.certificate);
  await showQueue();
}

/** Each part by itself: what one of them cannot say now keeps none of the others. */
async function refresh() {
  if (document.hidden) return;
  const parts = send("GET", "/api/v1/parts").then((answer) => showParts(answer.parts));
  await Promise.all([parts, showStatus(), showJobs(), showLog()]);
  show(byId("problem"), "", false);
}

const look = () => refresh().catch((error) => show(byId("problem"), error.message, true)).finally(showFilled);

for (const choice of [outletChoice, stateChoice]) choice.addEventListener("change", look);
levelChoice?.addEventListener("change", followLog);
if (log) {
  document.addEventListener("visibilitychange", followLog);
  followLog();
  byId("config-acts").append(button(t("concern.remedy.reload"), byId("config-outcome"), async () => {
    await send("POST", "/api/v1/config/reload");
    show(byId("config-outcome"), t("system.reloaded"), false);
    await look();
  }));
}
keys({ r: ["system.key_refresh", look] });
setInterval(look, EVERY_MS);
look();
