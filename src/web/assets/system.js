// Queues, models, configuration, parts and log of the box.

import { byId, element, setText, showFilled } from "./dom.js";
import { button, send, show } from "./form.js";
import { bytes, duration, when } from "./format.js";
import { keys } from "./keys.js";
import { locale, named, t } from "./texts.js";

const EVERY_MS = 5000;
const LINES_SHOWN = 1000;
const mayAct = document.body.dataset.acts === "true";
const [outletChoice, stateChoice, levelChoice, log] = ["queue-outlet", "queue-state", "log-level", "log"].map(byId);
const cell = (text, kind = "") => element("td", { class: kind }, text);
let lastLine = 0;

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
  byId("queue-empty").hidden = outlets.length > 0 && byId("queue").children.length > 0;
}

// Models, configuration, parts.

function showModels(models) {
  const rows = Object.entries(models).map(([name, { state, reason }]) => {
    const said = cell(named("system.model", state));
    if (reason) said.append(element("span", { class: "reason" }, reason));
    return element("tr", {}, element("th", { scope: "row" }, name), said);
  });
  byId("models").replaceChildren(...rows);
}

function showConfig(config) {
  const said = named("system.config_state", config.state);
  setText(byId("config-state"), config.reason ? `${said}: ${config.reason}` : said);
  setText(byId("config-file"), config.file ?? "");
  const problems = config.problems.map(({ line, column, message }) => element("li", {}, line ? t("system.problem", { line, column: column ?? 1, message }) : message));
  byId("config-problems").replaceChildren(...problems);
}

function showParts(parts) {
  const rows = parts.map(({ name, silent_for_s: silent, late }) =>
    element("tr", {}, element("th", { scope: "row" }, name), cell(t(late ? "system.late" : "system.alive"), late ? "late" : ""), cell(duration(silent), "num")));
  byId("parts").replaceChildren(...rows);
}

// The log.

async function showLog() {
  if (!log) return;
  const query = new URLSearchParams({ after: String(lastLine), level: levelChoice.value, limit: String(LINES_SHOWN) });
  const { lines } = await send("GET", `/api/v1/log?${query}`);
  if (lines.length === 0) return;
  lastLine = lines.at(-1).seq;
  // Someone who reads further up is not taken away from there.
  const follows = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
  log.append(...lines.map(({ time, level, text }) => element("li", { "data-level": level }, `${new Date(time).toLocaleTimeString(locale)}  ${text}`)));
  while (log.children.length > LINES_SHOWN) log.firstChild.remove();
  if (follows) log.scrollTop = log.scrollHeight;
}

async function refresh() {
  if (document.hidden) return;
  const status = await send("GET", "/api/v1/status");
  offerOutlets(status.outlets);
  showModels(status.models);
  showConfig(status.config);
  const { parts } = await send("GET", "/api/v1/parts");
  showParts(parts);
  await Promise.all([showQueue(), showLog()]);
  show(byId("problem"), "", false);
}

const look = () => refresh().catch((error) => show(byId("problem"), error.message, true)).finally(showFilled);

for (const choice of [outletChoice, stateChoice]) choice.addEventListener("change", look);
levelChoice?.addEventListener("change", () => {
  log.replaceChildren();
  lastLine = 0;
  look();
});
if (log) {
  byId("config-acts").append(button(t("concern.remedy.reload"), byId("config-outcome"), async () => {
    await send("POST", "/api/v1/config/reload");
    show(byId("config-outcome"), t("system.reloaded"), false);
    await look();
  }));
}
keys({ r: ["system.key_refresh", look] });
setInterval(look, EVERY_MS);
look();
