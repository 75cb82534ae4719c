// Queues and disk.

import { element, setText } from "./dom.js";
import { bytes, duration } from "./format.js";
import { because, locale, t } from "./texts.js";

const rows = new Map();
const body = document.querySelector("#outlets tbody");

/** Gives a command to a queue; what the box says against it is shown where it belongs. */
async function order(row, action, outlet) {
  const headers = { "content-type": "application/json" };
  let problem = "";
  try {
    const answer = await fetch(`/api/v1/queue/${action}`, { method: "POST", headers, body: JSON.stringify({ outlet }) });
    if (!answer.ok) problem = (await answer.json()).detail;
    else if (action === "pause" || action === "resume") setPaused(row, action === "pause");
  } catch {
    problem = t("error.no_answer");
  }
  setText(row.problem, problem);
}

function setPaused(row, paused) {
  row.paused = paused;
  setText(row.pause, t(paused ? "delivery.resume" : "delivery.pause"));
}

function makeRow(name) {
  const cells = [["link", "link"], ["num", "waiting"], ["num", "oldest"], ["num", "failed"]].map(([kind, name]) => element("td", { class: kind, "data-label": t(`delivery.${name}`) }));
  const root = element("tr", {}, element("th", { scope: "row" }, name), ...cells);
  const error = element("tr", { class: "error" }, element("td", { colspan: "5" }));
  const [note, problem] = [element("span", { class: "note" }), element("span", { class: "bad", role: "alert" })];
  const pause = element("button", { class: "button small", type: "button" }, t("delivery.pause"));
  const retry = element("button", { class: "button small", type: "button" }, t("delivery.retry"));
  const detail = element("tr", { class: "detail" }, element("td", { colspan: "5" }, note, pause, retry, problem));
  body.append(root, error, detail);
  const row = { root, error, detail, cells, note, problem, pause, retry, paused: false };
  pause.addEventListener("click", () => order(row, row.paused ? "resume" : "pause", name));
  retry.addEventListener("click", () => order(row, "retry", name));
  pause.hidden = !name.startsWith("upload/");
  return row;
}

/** What is on its way, how fast, and when it is done. */
function progress(outlet) {
  const transfers = outlet.transfers;
  if (!transfers) return "";
  const parts = [];
  const [current] = transfers.current;
  if (current) {
    const file = current.key.split("/").slice(-3).join("/");
    const all = bytes(current.bytes);
    const size = current.done ? t("delivery.of", { done: bytes(current.done), all }) : all;
    parts.push(t("delivery.sending", { file, size }));
  }
  if (transfers.bytes_per_s) parts.push(t("delivery.speed", { size: bytes(transfers.bytes_per_s) }));
  if (outlet.queued_items && transfers.left_s) parts.push(t("delivery.left", { time: duration(transfers.left_s) }));
  if (transfers.held) parts.push(t("delivery.held", { reason: because(transfers.cause, transfers.held) }));
  return parts.join(" · ");
}

function updateRow(row, outlet) {
  const [link, waiting, oldest, dead] = row.cells;
  const simple = outlet.online === null ? "unknown" : outlet.online ? "online" : "offline";
  const state = outlet.online === null ? "unknown" : (outlet.transfers?.link ?? simple);
  row.root.dataset.state = state;
  const name = t(`delivery.link.${state}`);
  const lasts = state === "offline" || state === "refused";
  setText(link, lasts ? t("delivery.for", { state: name, time: duration(outlet.state_for_s) }) : name);
  const size = outlet.queued_bytes ? ` (${bytes(outlet.queued_bytes)})` : "";
  setText(waiting, outlet.queued_items ? `${outlet.queued_items.toLocaleString(locale)}${size}` : "–");
  setText(oldest, outlet.oldest_wait_s === null || !outlet.queued_items ? "–" : duration(outlet.oldest_wait_s));
  setText(dead, outlet.dead_letters ? outlet.dead_letters.toLocaleString(locale) : "–");
  dead.classList.toggle("bad", outlet.dead_letters > 0);
  for (const cell of [waiting, oldest, dead]) cell.classList.toggle("none", cell.textContent === "–");
  const error = [outlet.last_error, ...(outlet.remarks ?? [])].filter(Boolean).join(" · ");
  setText(row.error.firstChild, error);
  row.error.hidden = error === "";
  setText(row.note, progress(outlet));
  row.retry.hidden = outlet.dead_letters === 0;
  row.detail.hidden = row.pause.hidden && row.retry.hidden && row.note.textContent === "";
  setPaused(row, outlet.paused === true);
}

export function showOutlets(outlets) {
  const names = new Set(outlets.map((outlet) => outlet.name));
  for (const [name, row] of rows) {
    if (!names.has(name)) {
      row.root.remove();
      row.error.remove();
      row.detail.remove();
      rows.delete(name);
    }
  }
  for (const outlet of outlets) {
    if (!rows.has(outlet.name)) rows.set(outlet.name, makeRow(outlet.name));
    updateRow(rows.get(outlet.name), outlet);
  }
  document.getElementById("outlets").hidden = outlets.length === 0;
  document.getElementById("no-outlets").hidden = outlets.length > 0;
}

/** When the disk is full, and what follows. */
function forecast({ state, limit, in_s: left, keeps_s: keeps, bytes_per_day: daily, measured_s: measured }) {
  const pace = { daily: bytes(daily), measured: duration(measured) };
  return t(`storage.forecast.${limit ? `${state}_${limit}` : state}`, { time: duration(left), keeps: duration(keeps), ...pace });
}

export function showDisk(disk) {
  const bar = document.getElementById("disk-bar");
  const used = Math.max(disk.size_bytes - disk.free_bytes, 0);
  const archive = Math.min(disk.archive_bytes ?? 0, used);
  const share = (n) => (disk.size_bytes ? (100 * n) / disk.size_bytes : 0);
  document.getElementById("disk-archive").style.width = `${share(archive)}%`;
  document.getElementById("disk-other").style.width = `${share(used - archive)}%`;
  bar.setAttribute("aria-valuenow", share(used).toFixed(0));
  bar.dataset.full = share(disk.free_bytes) < 2;
  const sizes = { size: bytes(disk.archive_bytes), quota: bytes(disk.quota_bytes) };
  const recordings = disk.archive_bytes === null ? "" : t(disk.quota_bytes ? "storage.recordings_of" : "storage.recordings", sizes);
  const free = disk.size_bytes ? t("storage.free", { free: bytes(disk.free_bytes), size: bytes(disk.size_bytes) }) : t("storage.unknown");
  bar.setAttribute("aria-valuetext", [recordings, free].filter(Boolean).join(", "));
  setText(document.getElementById("disk-archive-text"), recordings);
  setText(document.getElementById("disk-free-text"), free);
  setText(document.getElementById("disk-forecast"), disk.spooling ? t("storage.spooling") : forecast(disk.forecast));
  setText(document.getElementById("disk-path"), disk.path);
}

export function showTotals(status) {
  setText(document.getElementById("total"), status.events_total?.toLocaleString(locale) ?? "–");
  setText(document.getElementById("uptime"), duration(status.uptime_s));
  setText(document.getElementById("version"), t("overview.version", { version: status.version, count: status.cameras.length }));
}
