// Giving files to the box: one at a time, with progress, a pause, and another try where the line breaks.

import { byId, element, setText } from "./dom.js";
import { bytes } from "./format.js";
import { overQuota } from "./photos-usage.js";
import { t } from "./texts.js";

const TRY_AGAIN_MS = 5000;
const DRAWN_MS = 200;
const LISTED = 200;
const waiting = [];
const listeners = [];
let active = null; // { file, request, sent }
let isPaused = false;
let timer = null;
let total = 0;
let doneBytes = 0;
const counts = { added: 0, known: 0, refused: 0 };

/** `act` is called when files were added and nothing waits any more. */
export const onAdded = (act) => listeners.push(act);

function line(file, state, text) {
  const item = element("li", {}, `${file.name}: ${text}`);
  item.dataset.state = state;
  const list = byId("upload-list");
  list.prepend(item);
  while (list.children.length > LISTED) list.lastElementChild.remove();
}

function draw() {
  const sent = doneBytes + (active?.sent ?? 0);
  byId("uploads").hidden = total === 0;
  byId("upload-progress").value = total ? sent / total : 0;
  const left = waiting.length + (active ? 1 : 0);
  byId("pause").hidden = left === 0;
  const state = left ? t("photos.left", { count: left, sent: bytes(sent), total: bytes(total) }) : t("photos.done");
  setText(byId("upload-summary"), `${state} ${t("photos.counts", counts)}`);
}

/** What the clock of this device shows, as the file's date. */
function localTime(ms) {
  const at = new Date(ms);
  return new Date(ms - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

// The protocol tus 1.0: what was begun goes on after a break, also after the page was closed.

const TUS = { "tus-resumable": "1.0.0" };
const keyOf = (file) => `outpost.upload ${file.name} ${file.size} ${file.lastModified}`;
const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

/** An answer of the box that another try does not change. */
class Refused extends Error {}

async function answerOf(response) {
  if (response.ok) return response;
  const detail = (await response.json().catch(() => null))?.detail ?? t("error.status", { status: response.status });
  throw response.status >= 500 ? new Error(detail) : new Refused(detail);
}

async function begin(file) {
  const metadata = { filename: file.name, private: String(byId("private").checked) };
  if (file.lastModified) metadata.file_date = localTime(file.lastModified);
  const text = Object.entries(metadata).map(([name, value]) => `${name} ${base64(value)}`).join(",");
  const headers = { ...TUS, "upload-length": String(file.size), "upload-metadata": text };
  const response = await answerOf(await fetch("/api/v1/uploads", { method: "POST", headers }));
  return { place: response.headers.get("location"), offset: 0 };
}

/** Where the upload of `file` goes on, from the beginning if need be. */
async function goOn(file) {
  const place = localStorage.getItem(keyOf(file));
  if (place) {
    const response = await fetch(place, { method: "HEAD", headers: TUS });
    if (response.ok) return { place, offset: Number(response.headers.get("upload-offset")), photo: response.headers.get("outpost-photo") };
    if (response.status >= 500) throw new Error(t("photos.line_away"));
  }
  const begun = await begin(file);
  localStorage.setItem(keyOf(file), begun.place);
  return begun;
}

function append(file, place, offset) {
  const request = new XMLHttpRequest();
  active.request = request;
  request.open("PATCH", place);
  for (const [name, value] of Object.entries({ ...TUS, "upload-offset": String(offset), "content-type": "application/offset+octet-stream" })) request.setRequestHeader(name, value);
  request.upload.addEventListener("progress", (event) => {
    if (active?.file === file) active.sent = Math.min(offset + event.loaded, file.size);
  });
  const outcome = new Promise((resolve, reject) => {
    request.addEventListener("load", () => resolve(request));
    for (const name of ["error", "abort", "timeout"]) request.addEventListener(name, () => reject(new Error("")));
  });
  request.send(file.slice(offset));
  return outcome;
}

/** Sends `file`; gives whether it is new. */
async function upload(file) {
  let { place, offset, photo } = await goOn(file);
  while (!photo) {
    active.sent = offset;
    const request = await append(file, place, offset);
    if (request.status >= 400) {
      const detail = JSON.parse(request.responseText || "{}").detail ?? t("error.status", { status: request.status });
      // Another place, or begun again.
      if ([404, 409].includes(request.status)) ({ place, offset, photo } = await goOn(file));
      else throw request.status >= 500 ? new Error(detail) : new Refused(detail);
      continue;
    }
    offset = Number(request.getResponseHeader("upload-offset"));
    photo = request.getResponseHeader("outpost-photo");
  }
  localStorage.removeItem(keyOf(file));
  return place.endsWith(photo) ? "added" : "known";
}

function finish(file) {
  doneBytes += file.size;
  active = null;
}

async function run() {
  if (active || isPaused) return;
  const file = waiting.shift();
  if (!file) {
    if (counts.added > 0) listeners.forEach((act) => act());
    return draw();
  }
  active = { file, request: null, sent: 0 };
  try {
    counts[await upload(file)] += 1;
    finish(file);
  } catch (error) {
    if (error instanceof Refused) {
      counts.refused += 1;
      localStorage.removeItem(keyOf(file));
      finish(file);
      line(file, "refused", error.message);
    } else {
      // The line or the box is away, or there is a pause: the same file goes on.
      active = null;
      waiting.unshift(file);
      if (!isPaused) {
        line(file, "failed", error.message || t("photos.line_away"));
        await new Promise((resolve) => setTimeout(resolve, TRY_AGAIN_MS));
      }
    }
  }
  draw();
  run();
}

function add(files) {
  for (const file of files) {
    if (file.size === 0 && !file.type) continue; // a folder
    const tooMuch = overQuota(file);
    if (tooMuch) {
      counts.refused += 1;
      total += file.size;
      doneBytes += file.size;
      line(file, "refused", tooMuch);
      continue;
    }
    waiting.push(file);
    total += file.size;
  }
  timer ??= setInterval(draw, DRAWN_MS);
  draw();
  run();
}

const input = byId("files");
if (input) {
  input.addEventListener("change", () => {
    add(input.files);
    input.value = "";
  });
  const drop = byId("drop");
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    drop.hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.hidden = true;
  });
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    drop.hidden = true;
    add(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => event.clipboardData?.files.length && add(event.clipboardData.files));
  byId("pause").addEventListener("click", () => {
    isPaused = !isPaused;
    byId("pause").setAttribute("aria-pressed", String(isPaused));
    setText(byId("pause"), t(isPaused ? "photos.resume" : "photos.pause"));
    if (isPaused) active?.request?.abort();
    else run();
  });
  byId("clear-uploads").addEventListener("click", () => {
    waiting.length = 0;
    active?.request?.abort();
    Object.assign(counts, { added: 0, known: 0, refused: 0 });
    total = doneBytes = 0;
    byId("upload-list").replaceChildren();
    draw();
  });
  addEventListener("beforeunload", (event) => (active || waiting.length > 0) && event.preventDefault());
}
