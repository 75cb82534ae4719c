// The photo library: the gallery by day, and one photo with what is said of it.
//
// Of the gallery what is near the screen is drawn and loaded, see photos-gallery.js.

import { byId, element, setText } from "./dom.js";
import { listOf, onSubmit, send, show } from "./form.js";
import { bytes, duration, objectName, when } from "./format.js";
import { keys } from "./keys.js";
import { loadAlbums } from "./photos-albums.js";
import { onImported } from "./photos-folders.js";
import { follow } from "./photos-follow.js";
import { makeGallery } from "./photos-gallery.js";
import "./photos-map.js";
import { loadMonths, onMonth, onQuestion, question, showDay, withEvents } from "./photos-search.js";
import { choose, isSelecting, mark as markChosen, onChanged } from "./photos-selection.js";
import { onAdded } from "./photos-upload.js";
import { askToShare } from "./photos-share.js";
import { onMerged } from "./photos-similar.js";
import { onBack, showStorage } from "./photos-storage.js";
import { showUsage } from "./photos-usage.js";
import { locale, named, t } from "./texts.js";

const dialog = byId("photo");
const form = byId("photo-form");
let inTrash = false;
let isArranged = false;
let shown = null;

const dayText = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeZone: "UTC" });
const timeText = new Intl.DateTimeFormat(locale, { dateStyle: "long", timeStyle: "medium", timeZone: "UTC" });
/** What the clock on the wall showed, whatever zone the browser is in. */
const wall = (photo) => new Date(`${photo.taken.local.slice(0, 19)}Z`);
const path = (photo, file) => `/api/v1/photos/${photo.id}/${file}`;
const titleOf = (photo) => photo.title || photo.name;
const isVideo = (photo) => ["mp4", "mov", "matroska"].includes(photo.facts.format);

function tile(photo) {
  const label = t("photos.open", { name: titleOf(photo), time: timeText.format(wall(photo)) });
  const face = photo.facts.unreadable
    ? element("span", { class: "kind" }, photo.name)
    : element("img", { src: path(photo, "small.jpg"), loading: "lazy", decoding: "async", alt: "" });
  const mark = photo.private ? t("photos.is_private") : isVideo(photo) ? t("photos.video") : "";
  const star = photo.favorite ? element("span", { class: "star", "aria-hidden": "true" }, "★") : null;
  const button = element("button", { type: "button", "aria-label": label }, face, mark ? element("span", { class: "mark" }, mark) : null, star);
  button.addEventListener("click", () => (isSelecting() ? choose(photo.id) : open(photo.id)));
  const root = element("li", {}, button);
  root.dataset.id = photo.id;
  markChosen(root);
  return root;
}

/** An event of a camera among the photos: a link to its page. */
function eventTile({ event, at }) {
  const label = t("photos.event", { label: objectName(event.label), camera: event.camera, time: timeText.format(new Date(`${at.slice(0, 19)}Z`)) });
  const face = element("img", { src: `/api/v1/events/${event.id}/thumb.jpg`, loading: "lazy", decoding: "async", alt: "" });
  const mark = element("span", { class: "mark" }, event.camera);
  return element("li", {}, element("a", { href: `/events/${event.id}`, "aria-label": label }, face, mark));
}

const isAsked = () => Object.keys(question()).length > 0;

function showCount(total) {
  const count = gallery.size();
  setText(byId("found"), !isAsked() || total === undefined ? "" : t("photos.found", { count: total }));
  const download = byId("download");
  download.hidden = inTrash || withEvents() || count === 0;
  download.href = `/api/v1/photos/export.tar?${new URLSearchParams(question())}`;
  byId("no-photos").hidden = count > 0 || !gallery.isWhole();
  setText(byId("no-photos"), t(inTrash ? "photos.trash_empty" : isAsked() ? "photos.none_found" : "photos.none"));
}

async function asked(path, params) {
  try {
    const answer = await send("GET", `${path}?${new URLSearchParams(params)}`);
    setText(byId("status"), "");
    return answer;
  } catch (error) {
    setText(byId("status"), error.message);
    throw error;
  }
}

async function loadPage(before, limit) {
  const params = { limit, ...question(), ...(before ? { before } : {}), ...(inTrash ? { trash: "true" } : {}) };
  if (withEvents()) {
    const { found, next } = await asked("/api/v1/search", params);
    return { photos: found.map(({ photo, ...entry }) => photo ?? entry), next };
  }
  const page = await asked("/api/v1/photos", params);
  // A rank in place of a time: the album has an order of its own.
  if (!gallery.isCounted()) page.arranged = isArranged ||= page.next !== undefined && !page.next.includes("_");
  setTimeout(() => showCount(page.total));
  return page;
}

/** The days with their photos, where the box can count them. */
async function countDays() {
  isArranged = false;
  if (inTrash || withEvents()) return null;
  const { days, exact } = await asked("/api/v1/photos/days", question());
  return exact ? days : null;
}

const gallery = makeGallery({
  root: byId("gallery"),
  tile: (entry) => (entry.event ? eventTile(entry) : tile(entry)),
  heading: (day) => dayText.format(new Date(`${day}T00:00:00Z`)),
  load: loadPage,
  count: countDays,
  drawn: showDay,
});

async function restart() {
  await gallery.restart();
  if (gallery.isCounted()) showCount(gallery.size());
  else showCount();
  showUsage(inTrash);
}

// One photo.

function fact(name, value) {
  return value ? [element("dt", {}, t(`photos.fact.${name}`)), element("dd", {}, value)] : [];
}

function zone(taken) {
  if (taken.offset_s === undefined) return t("photos.zone_unknown");
  const minutes = Math.abs(taken.offset_s) / 60;
  const two = (n) => String(Math.floor(n)).padStart(2, "0");
  return `UTC${taken.offset_s < 0 ? "−" : "+"}${two(minutes / 60)}:${two(minutes % 60)}`;
}

function facts(photo) {
  const { facts: of, taken } = photo;
  const place = of.place && `${of.place.latitude.toFixed(5)}, ${of.place.longitude.toFixed(5)}`;
  const device = [of.device?.make, of.device?.model, of.device?.lens].filter(Boolean).join(" · ");
  return [
    ...fact("taken", `${timeText.format(wall(photo))}, ${zone(taken)}`),
    ...fact("from", named("photos.from", taken.from)),
    ...fact("file", photo.name),
    ...fact("size", `${of.width ? `${of.width} × ${of.height}, ` : ""}${bytes(photo.bytes)}, ${of.format.toUpperCase()}`),
    ...fact("length", of.duration_s && duration(of.duration_s)),
    ...fact("device", device),
    ...fact("place", place),
    ...fact("objects", [...new Set(photo.seen?.objects?.map(({ label }) => objectName(label)))].join(", ")),
    ...fact("description", of.description),
    ...fact("owner", photo.owner),
    ...fact("added", when(photo.added.wall)),
  ];
}

function stage(photo) {
  if (isVideo(photo)) return element("video", { src: path(photo, "original"), controls: true, preload: "metadata" });
  if (photo.facts.unreadable) return element("p", { class: "notice" }, photo.facts.unreadable);
  return element("img", { src: path(photo, "large.jpg"), alt: titleOf(photo) });
}

function fill(photo) {
  shown = photo;
  setText(byId("photo-title"), titleOf(photo));
  byId("photo-stage").replaceChildren(stage(photo));
  byId("photo-facts").replaceChildren(...facts(photo));
  byId("photo-original").href = path(photo, "original");
  byId("photo-original").download = photo.name;
  byId("photo-before").disabled = !gallery.has(photo.id, -1);
  byId("photo-after").disabled = !gallery.has(photo.id, 1);
  form.elements.namedItem("title").value = photo.title ?? "";
  form.elements.namedItem("note").value = photo.note ?? "";
  form.elements.namedItem("tags").value = (photo.tags ?? []).join(", ");
  form.elements.namedItem("taken").value = photo.taken.local.slice(0, 19);
  byId("photo-found").hidden = !photo.taken_found;
  form.elements.namedItem("private").checked = photo.private ?? false;
  form.hidden = document.body.dataset.acts !== "true";
  byId("photo-favorite").setAttribute("aria-pressed", String(photo.favorite));
  byId("photo-delete").hidden = !photo.trashed;
  const share = byId("photo-share");
  if (share) share.hidden = photo.private || Boolean(photo.trashed);
  setText(byId("photo-trash"), t(photo.trashed ? "photos.restore" : "photos.to_trash"));
  show(form.querySelector(".outcome"), "", false);
  showStorage(photo.id);
}

function open(id) {
  const photo = gallery.get(id);
  if (!photo) return;
  fill(photo);
  if (!dialog.open) dialog.showModal();
}

async function step(by) {
  const from = shown;
  const other = from && (await gallery.neighbour(from.id, by));
  if (other && shown === from && dialog.open) fill(other);
}

async function edit(change) {
  const edited = await send("PATCH", `/api/v1/photos/${shown.id}`, change);
  const stays = Boolean(edited.trashed) === inTrash;
  if (!stays) gallery.remove(edited.id);
  else if (change.taken && !isArranged) await gallery.restart(true);
  else gallery.replace(edited);
  showCount();
  return { edited, stays };
}

onSubmit(form, async (data) => {
  const tags = listOf(data.get("tags"));
  const change = { title: data.get("title").trim(), note: data.get("note").trim(), tags, private: data.get("private") !== null };
  const { local, offset_s } = shown.taken;
  // A time that was left as it is stays what it was found by. Browsers leave out seconds that are zero.
  const typed = data.get("taken").padEnd(19, ":00");
  if (typed !== local.slice(0, 19)) change.taken = { at: { local: typed, offset_s } };
  const { edited } = await edit(change);
  fill(edited);
  return t("photos.saved");
});

byId("photo-found").addEventListener("click", async () => {
  try {
    fill((await edit({ taken: "as_found" })).edited);
  } catch (error) {
    show(form.querySelector(".outcome"), error.message, true);
  }
});

byId("photo-trash").addEventListener("click", async () => {
  try {
    await edit({ trashed: !shown.trashed });
    dialog.close();
  } catch (error) {
    show(form.querySelector(".outcome"), error.message, true);
  }
});

byId("photo-delete").addEventListener("click", async () => {
  if (!confirm(t("photos.delete_ask"))) return;
  try {
    await send("DELETE", `/api/v1/photos/${shown.id}`);
    gallery.remove(shown.id);
    showCount();
    dialog.close();
  } catch (error) {
    show(form.querySelector(".outcome"), error.message, true);
  }
});

byId("photo-favorite").addEventListener("click", async () => {
  try {
    const marked = await send("PATCH", `/api/v1/photos/${shown.id}/favorite`, { favorite: !shown.favorite });
    gallery.replace(marked);
    fill(marked);
  } catch (error) {
    show(form.querySelector(".outcome"), error.message, true);
  }
});

byId("photo-share")?.addEventListener("click", () => askToShare({ photo: shown.id }, titleOf(shown)));
byId("photo-close").addEventListener("click", () => dialog.close());
byId("photo-before").addEventListener("click", () => step(-1));
byId("photo-after").addEventListener("click", () => step(1));
dialog.addEventListener("close", () => {
  byId("photo-stage").replaceChildren();
  byId("gallery").querySelector(`li[data-id="${shown?.id}"] button`)?.focus();
});
dialog.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, video")) return;
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});

byId("trash").addEventListener("click", () => {
  inTrash = !inTrash;
  byId("trash").setAttribute("aria-pressed", String(inTrash));
  restart();
});

const add = () => byId("files")?.click();
keys({ u: ["photos.key.add", add], "/": ["photos.key.search", () => byId("search").elements.namedItem("q").focus()] });
const reload = () => Promise.all([loadAlbums(), loadMonths()]).catch((error) => setText(byId("status"), error.message));
onAdded(() => !inTrash && restart());
onBack(() => shown && byId("photo-stage").replaceChildren(stage(shown)));
dialog.addEventListener("close", () => showStorage(""));
onMerged(() => !inTrash && restart());
onImported(() => !inTrash && restart());
onAdded(reload);
onQuestion(restart);
onChanged(() => {
  restart();
  reload();
});
onMonth((month) => gallery.show(month));
follow(async (changed) => {
  if (gallery.isCounted()) {
    await gallery.refresh(changed);
    showCount(gallery.size());
  } else if (scrollY === 0 && !dialog.open && !byId("gallery").contains(document.activeElement)) await restart();
});
reload();
restart();
