// Queues and disk.

import { bytes, count, duration, element, setText } from "./format.js";

const rows = new Map();
const body = document.querySelector("#outlets tbody");

const LINKS = {
  unknown: "Not tried yet",
  probing: "Trying",
  online: "Connected",
  degraded: "Unsteady",
  offline: "No link",
  refused: "Refused",
};

/** Gives a command to a queue; what the box says against it is shown where it belongs. */
async function order(row, action, outlet) {
  const headers = { "content-type": "application/json" };
  let problem = "";
  try {
    const answer = await fetch(`/api/v1/queue/${action}`, { method: "POST", headers, body: JSON.stringify({ outlet }) });
    if (!answer.ok) problem = (await answer.json()).detail;
    else if (action === "pause" || action === "resume") setPaused(row, action === "pause");
  } catch {
    problem = "The box does not answer.";
  }
  setText(row.problem, problem);
}

function setPaused(row, paused) {
  row.paused = paused;
  setText(row.pause, paused ? "Resume" : "Pause");
}

function makeRow(name) {
  const cells = ["link", "num", "num", "num"].map((kind) => element("td", { class: kind }));
  const root = element("tr", {}, element("th", { scope: "row" }, name), ...cells);
  const error = element("tr", { class: "error" }, element("td", { colspan: "5" }));
  const [note, problem] = [element("span", { class: "note" }), element("span", { class: "bad", role: "alert" })];
  const pause = element("button", { class: "button small", type: "button" }, "Pause");
  const retry = element("button", { class: "button small", type: "button" }, "Retry failed");
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
    const done = current.done ? `${bytes(current.done)} of ${bytes(current.bytes)}` : bytes(current.bytes);
    parts.push(`Sending ${file} (${done})`);
  }
  if (transfers.bytes_per_s) parts.push(`${bytes(transfers.bytes_per_s)}/s`);
  if (outlet.queued_items && transfers.left_s) parts.push(`about ${duration(transfers.left_s)} left`);
  if (transfers.held) parts.push(`held back: ${transfers.held}`);
  return parts.join(" · ");
}

function updateRow(row, outlet) {
  const [link, waiting, oldest, dead] = row.cells;
  const simple = outlet.online === null ? "unknown" : outlet.online ? "online" : "offline";
  const state = outlet.online === null ? "unknown" : (outlet.transfers?.link ?? simple);
  row.root.dataset.state = state;
  const since = state === "offline" || state === "refused" ? ` for ${duration(outlet.state_for_s)}` : "";
  setText(link, LINKS[state] + since);
  const size = outlet.queued_bytes ? ` (${bytes(outlet.queued_bytes)})` : "";
  setText(waiting, outlet.queued_items ? `${outlet.queued_items.toLocaleString()}${size}` : "–");
  setText(oldest, outlet.oldest_wait_s === null || !outlet.queued_items ? "–" : duration(outlet.oldest_wait_s));
  setText(dead, outlet.dead_letters ? outlet.dead_letters.toLocaleString() : "–");
  dead.classList.toggle("bad", outlet.dead_letters > 0);
  for (const cell of [waiting, oldest, dead]) cell.classList.toggle("none", cell.textContent === "–");
  const error = [outlet.last_error, ...(outlet.remarks ?? [])].filter(Boolean).join(" · ");
  setText(row.error.firstChild, error);
  row.error.hidden = error === "";
  setText(row.note, progress(outlet));
  row.retry.hidden = outlet.dead_letters === 0;
  row.detail.hidden = row.pause.hidden && row.retry.hidden && row.note.textContent === "";
  setPaused(row, outlet.transfers?.held === "paused by hand");
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

export function showDisk(disk) {
  const bar = document.getElementById("disk-bar");
  const used = Math.max(disk.size_bytes - disk.free_bytes, 0);
  const archive = Math.min(disk.archive_bytes ?? 0, used);
  const share = (n) => (disk.size_bytes ? (100 * n) / disk.size_bytes : 0);
  document.getElementById("disk-archive").style.width = `${share(archive)}%`;
  document.getElementById("disk-other").style.width = `${share(used - archive)}%`;
  bar.setAttribute("aria-valuenow", share(used).toFixed(0));
  bar.dataset.full = share(disk.free_bytes) < 2;
  const quota = disk.quota_bytes ? ` of ${bytes(disk.quota_bytes)} allowed` : "";
  const recordings = disk.archive_bytes === null ? "" : `Recordings ${bytes(disk.archive_bytes)}${quota}`;
  const free = disk.size_bytes ? `${bytes(disk.free_bytes)} free of ${bytes(disk.size_bytes)}` : "Size of the disk not known";
  bar.setAttribute("aria-valuetext", [recordings, free].filter(Boolean).join(", "));
  setText(document.getElementById("disk-archive-text"), recordings);
  setText(document.getElementById("disk-free-text"), free);
  setText(document.getElementById("disk-path"), disk.path);
}

export function showTotals(status) {
  setText(document.getElementById("total"), status.events_total.toLocaleString());
  setText(document.getElementById("uptime"), duration(status.uptime_s));
  setText(document.getElementById("version"), `Outpost ${status.version} · ${count(status.cameras.length, "camera", "cameras")}`);
}
