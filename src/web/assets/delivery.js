// Queues and disk.

import { bytes, count, duration, element, setText } from "./format.js";

const rows = new Map();
const body = document.querySelector("#outlets tbody");

function makeRow(name) {
  const cells = ["link", "num", "num", "num"].map((kind) => element("td", { class: kind }));
  const root = element("tr", {}, element("th", { scope: "row" }, name), ...cells);
  const error = element("tr", { class: "error" }, element("td", { colspan: "5" }));
  body.append(root, error);
  return { root, error, cells };
}

function updateRow(row, outlet) {
  const [link, waiting, oldest, dead] = row.cells;
  const state = outlet.online === null ? "unknown" : outlet.online ? "online" : "offline";
  row.root.dataset.state = state;
  const words = { unknown: "Not tried yet", online: "Connected", offline: "No link" };
  setText(link, state === "offline" ? `${words.offline} for ${duration(outlet.state_for_s)}` : words[state]);
  const size = outlet.queued_bytes ? ` (${bytes(outlet.queued_bytes)})` : "";
  setText(waiting, outlet.queued_items ? `${outlet.queued_items.toLocaleString()}${size}` : "–");
  setText(oldest, outlet.oldest_wait_s === null || !outlet.queued_items ? "–" : duration(outlet.oldest_wait_s));
  setText(dead, outlet.dead_letters ? outlet.dead_letters.toLocaleString() : "–");
  dead.classList.toggle("bad", outlet.dead_letters > 0);
  for (const cell of [waiting, oldest, dead]) cell.classList.toggle("none", cell.textContent === "–");
  const error = outlet.last_error ?? "";
  setText(row.error.firstChild, error);
  row.error.hidden = error === "";
}

export function showOutlets(outlets) {
  const names = new Set(outlets.map((outlet) => outlet.name));
  for (const [name, row] of rows) {
    if (!names.has(name)) {
      row.root.remove();
      row.error.remove();
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
