// One event: its video with the object marked in it, its path, what people say of it, and where its files are.

import { byId, element, setText } from "./dom.js";
import { clipsOf, fileUrl, filmOf, followEvents, lasted, picture, shareOf, titleOf, wholeOf } from "./event-view.js";
import { getTagged, listOf, onSubmit, send, show } from "./form.js";
import { bytes, doubt, duration, localTime, objectName, percent, when } from "./format.js";
import { keys } from "./keys.js";
import { named, t } from "./texts.js";

const id = location.pathname.split("/").at(-1);
const api = `/api/v1/events/${encodeURIComponent(id)}`;
const video = byId("event-video");
const actOutcome = byId("act-outcome");
const TRIES = 4;
let record = null;
let path = []; // [seconds after the start, x, y, width, height]
let me = { name: "", role: "viewer" };
let playing = ""; // the video of the event, as text
let film = []; // its parts, as the player has them

const mayChange = () => me.role !== "viewer";
const isReviewed = () => (record.reviewed ?? []).some(({ by }) => by === me.name);

/** What stands in the place of the film. */
function notice(text, file) {
  const node = byId("film-notice");
  node.hidden = !text;
  node.replaceChildren(text ?? "");
  if (file) node.append(" ", element("a", { href: file, download: "" }, t("event.download")));
}

// The video.

/** Plays the files of the clip one after the other. */
function play(n) {
  const part = film[n];
  video.src = fileUrl(part.event ?? id, part.file) + (part.offset_s ? `#t=${part.offset_s.toFixed(3)}` : "");
  video.dataset.file = String(n);
  const { width, height } = part.width ? part : (record.video ?? {});
  if (!width) return;
  const shape = `${width} / ${height}`;
  // The still is of the same camera: its place is kept until it is there.
  [byId("film").style.aspectRatio, byId("still").style.aspectRatio] = [shape, shape];
}

function playNext() {
  const following = Number(video.dataset.file) + 1;
  if (following >= film.length) return video.pause();
  play(following);
  return video.play().catch(() => {});
}

video.addEventListener("ended", playNext);
// What another event's clip holds behind the part is not of this one.
video.addEventListener("timeupdate", () => {
  const part = film[Number(video.dataset.file)];
  if (part?.ends_s && !video.paused && video.currentTime >= part.ends_s) playNext();
});

video.addEventListener("error", () => {
  if (!video.getAttribute("src")) return;
  const part = film[Number(video.dataset.file)] ?? record.event.clip;
  // The other event may have begun before the time from which on the viewer may see the camera.
  if (part.event) {
    film = wholeOf(record.event);
    return play(0);
  }
  byId("film").hidden = true;
  notice(t("event.not_played", { codec: "?", ...part }), fileUrl(part.event ?? id, part.file));
});

/** Where the object was so many seconds after the start; null where that is not known. */
function placeAt(seconds) {
  const following = path.findIndex(([at]) => at >= seconds);
  if (following <= 0) return following === 0 && path[0][0] - seconds < 0.5 ? path[0].slice(1) : null;
  const [before, after] = [path[following - 1], path[following]];
  const share = (seconds - before[0]) / (after[0] - before[0] || 1);
  return before.slice(1).map((value, n) => value + (after[n + 1] - value) * share);
}

function putBox(rect, place) {
  rect.toggleAttribute("hidden", !place);
  if (place) ["x", "y", "width", "height"].forEach((name, n) => rect.setAttribute(name, String(place[n])));
}

function drawBox() {
  const clip = film[Number(video.dataset.file)];
  if (!record || !clip || !byId("show-boxes").checked) return putBox(byId("film-box"), null);
  const start = (clip.start.mono_ns - record.event.start.mono_ns) / 1e9;
  putBox(byId("film-box"), placeAt(start + video.currentTime));
}

function drawWhilePlaying() {
  drawBox();
  if (!video.paused && !video.ended) requestAnimationFrame(drawWhilePlaying);
}

for (const name of ["play", "seeked", "loadeddata", "timeupdate"]) video.addEventListener(name, name === "play" ? drawWhilePlaying : drawBox);
byId("show-boxes").addEventListener("change", drawBox);

function showFilm() {
  const parts = filmOf(record.event);
  const text = JSON.stringify(parts);
  if (text === playing) return;
  [film, playing] = [parts, text];
  byId("film").hidden = film.length === 0;
  if (film.length > 0) {
    notice(null);
    play(0);
  } else {
    video.removeAttribute("src");
    notice(t(record.event.state === "open" ? "event.comes" : "event.no_clip"));
  }
}

function showStill() {
  const { event } = record;
  const name = picture(event, "snapshot.jpg", "snapshot-boxes.jpg");
  byId("still").hidden = !name;
  if (!name) return;
  const image = byId("event-snapshot");
  // The box is seen in the picture that has it already.
  if (image.dataset.name !== name) image.src = fileUrl(id, name);
  image.dataset.name = name;
  image.alt = t("event.best_look", { camera: event.camera, label: objectName(event.label) });
  byId("path").setAttribute("points", path.map(([, x, y, width, height]) => `${x + width / 2},${y + height}`).join(" "));
  putBox(byId("best"), name === "snapshot.jpg" ? event.best?.box : null);
}

byId("event-snapshot").addEventListener("load", ({ target }) => (byId("still").style.aspectRatio = `${target.naturalWidth} / ${target.naturalHeight}`));
byId("event-snapshot").addEventListener("error", () => (byId("still").hidden = true));

// What is known.

function fact(name, value, title) {
  if (!value) return [];
  return [element("dt", {}, t(`event.${name}`)), element("dd", title ? { title } : {}, value)];
}

function clipFacts(clips) {
  if (clips.length === 0) return "";
  const seconds = clips.reduce((all, clip) => all + clip.duration_s, 0);
  const own = clips.filter(({ event }) => !event);
  const kinds = [...new Set(own.map((clip) => `${clip.codec}, ${clip.width} × ${clip.height}`))];
  const files = own.length > 1 ? t("event.clip_files", { count: own.length }) : "";
  const shared = own.length < clips.length ? t(own.length ? "event.shared" : "event.shared_all") : "";
  const cut = clips.at(-1).truncated ? t("event.cut") : "";
  return [duration(seconds), kinds.join("; "), files, shared, cut].filter(Boolean).join(", ");
}

const link = (file, name) => element("a", { href: fileUrl(id, file), download: name }, file);

function showFacts() {
  const { event } = record;
  const why = doubt(event.start.time_quality);
  const began = localTime(event.start.wall, null);
  const clips = clipsOf(event);
  const continued = event.continues && element("a", { href: `/events/${event.continues}` }, event.continues);
  byId("event-facts").replaceChildren(
    ...fact("began", why ? t("time.uncertain", { time: began }) : began, why),
    ...fact("lasted", lasted(event)),
    ...fact("what", named("event.kind", event.kind)),
    ...fact("certainty", percent(event.score)),
    ...fact("count", event.count > 1 ? String(event.count) : ""),
    ...fact("camera", event.camera),
    ...fact("rule", event.rule),
    ...fact("zones", event.zones.join(", ")),
    ...fact("model", event.model),
    ...fact("clip", clipFacts(filmOf(event))),
    ...fact("skipped", event.media_skipped && named("event.skipped", event.media_skipped)),
    ...fact("continues", continued),
    ...fact("id", event.id),
  );
  const files = [...clips, ...(event.pictures ?? [])];
  const gone = (event.evicted ?? []).map((file) => element("li", {}, t("event.evicted", { file: file.file, time: localTime(file.at.wall, null), why: named("event.reason", file.reason) })));
  byId("event-files").replaceChildren(
    ...files.map((file) => element("li", {}, link(file.file, `${event.camera}-${event.id}-${file.file}`), ` ${bytes(file.bytes)}`)),
    ...[...new Set((event.shares ?? []).map((part) => part.event))].map((holder) => element("li", {}, t("event.shared_with"), " ", element("a", { href: `/events/${holder}` }, holder))),
    ...(event.shares?.length ? [element("li", {}, link("video.mp4", `${event.camera}-${event.id}.mp4`))] : []),
    element("li", {}, link("event.json", `${event.id}.json`)),
    ...gone,
  );
}

function showDelivery() {
  const rows = record.delivery.map((outlet) => {
    const files = (outlet.files ?? []).map((file) => element("li", {}, `${file.file}: ${named("event.delivery", file.state)}`));
    const state = element("span", { class: "delivery" }, shareOf(outlet));
    state.dataset.state = outlet.state;
    return files.length ? element("li", {}, element("details", {}, element("summary", {}, state), element("ul", {}, ...files))) : element("li", {}, state);
  });
  const text = JSON.stringify(record.delivery);
  const list = byId("event-delivery");
  if (list.dataset.text !== text) list.replaceChildren(...(rows.length ? rows : [element("li", {}, t("delivery.none"))]));
  list.dataset.text = text;
  byId("retry").hidden = !record.delivery.some(({ state }) => state === "failed");
}

// What people say.

const form = byId("said");
const saidOf = (event) => ({ tags: [], note: "", verdict: "none", ...event.annotations });
/** What is said, as the fields have it. */
const FIELDS = { tags: (said) => said.tags.join(", "), note: (said) => said.note, verdict: (said) => said.verdict };
let begun = {}; // what each field began with: what the box had then

/** Fields that were changed here stay as they are until they are saved. */
function fillSaid() {
  const said = saidOf(record.event);
  for (const [name, text] of Object.entries(FIELDS)) {
    if (begun[name] === undefined || byId(name).value === begun[name]) fill(name, text(said));
  }
  const pinned = Boolean(record.event.pinned);
  byId("pin").setAttribute("aria-pressed", String(pinned));
  setText(byId("pin"), t(pinned ? "event.unpin" : "event.pin"));
  byId("review").setAttribute("aria-pressed", String(isReviewed()));
  setText(byId("review"), t(isReviewed() ? "events.unreview" : "events.review"));
  const by = (record.reviewed ?? []).map((reviewed) => t("event.by", { name: reviewed.by, time: when(reviewed.at) }));
  setText(byId("reviewed-by"), by.length ? t("event.reviewed_by", { list: by.join(", ") }) : t("event.not_reviewed"));
  const { by: name, at } = record.event.annotations ?? {};
  setText(byId("said-by"), name ? t("event.changed_by", { by: t("event.by", { name, time: when(at.wall) }) }) : "");
}

async function patch(change) {
  take(await send("PATCH", api, change));
}

/** Does `act`, and shows what went wrong. */
async function attempt(act) {
  show(actOutcome, "", false);
  try {
    await act();
  } catch (error) {
    show(actOutcome, error.message, true);
  }
}

const pin = () => record && mayChange() && attempt(() => patch({ pinned: !record.event.pinned }));
const review = () => record && attempt(() => patch({ reviewed: !isReviewed() }));

async function remove() {
  const question = record && [t("events.delete_question", { count: 1 }), ...(record.event.clip ? [t("event.delete_shared")] : [])];
  if (!record || !mayChange() || !confirm(question.join(" "))) return;
  await attempt(async () => {
    const { kept_at: kept } = await send("DELETE", api);
    gone(kept.length ? t("event.deleted_kept", { list: kept.join(", ") }) : t("event.deleted"));
  });
}

function gone(text) {
  record = null;
  video.removeAttribute("src");
  video.load();
  document.querySelector(".one-event").hidden = true;
  setText(byId("event-notice"), text);
  byId("event-notice").hidden = false;
}

byId("pin").addEventListener("click", pin);
byId("review").addEventListener("click", review);
byId("delete").addEventListener("click", remove);
byId("retry").addEventListener("click", () => attempt(async () => {
  const { changed } = await send("POST", `${api}/retry`);
  show(actOutcome, t("event.retried", { count: changed }), false);
  take(await send("GET", api));
}));

function fill(name, text) {
  byId(name).value = text;
  begun[name] = byId(name).value;
}

/** What others said of the same since, which saving again replaces. */
function showNewer(event, names) {
  const said = saidOf(event);
  const lines = names.map((name) => element("li", {}, `${t(`event.${name}`)}: `, element("q", {}, name === "verdict" ? t(`event.verdict.${said.verdict}`) : FIELDS[name](said))));
  byId("said-newer").replaceChildren(...(names.length ? [element("ul", {}, ...lines)] : []));
  for (const name of names) begun[name] = FIELDS[name](said);
}

const mine = () => Object.keys(FIELDS).filter((name) => byId(name).value !== begun[name]);

function changes(names) {
  const values = { tags: listOf(byId("tags").value), note: byId("note").value, verdict: byId("verdict").value };
  return Object.fromEntries(names.map((name) => [name, values[name]]));
}

/** Saves what was changed here, and nothing that others changed since it was shown. */
async function saveSaid() {
  const names = mine();
  for (let tries = 1; names.length > 0; tries += 1) {
    const { answer: fresh, tag } = await getTagged(api);
    const said = saidOf(fresh.event);
    const lost = names.filter((name) => FIELDS[name](said) !== begun[name]);
    if (lost.length > 0) {
      take(fresh);
      showNewer(fresh.event, lost);
      throw new Error(t("event.changed_meanwhile", { name: fresh.event.annotations?.by ?? "" }));
    }
    try {
      const answer = await send("PATCH", api, changes(names), { "if-match": tag });
      for (const name of names) fill(name, FIELDS[name](saidOf(answer.event)));
      return take(answer);
    } catch (error) {
      // A delivery counts as a change, too.
      if (error.code !== "changed_meanwhile" || tries === TRIES) throw error;
    }
  }
}

onSubmit(form, async () => {
  showNewer(record.event, []);
  await saveSaid();
  return t("event.saved");
});

// Every link and key leads to another page: before what is not saved is lost, the browser asks.
addEventListener("beforeunload", (event) => record && mine().length > 0 && event.preventDefault());

// Events beside this one.

async function neighbours() {
  const { search } = location;
  byId("back").href = `/events${search}`;
  const known = JSON.parse(sessionStorage.getItem("outpost.events") ?? "null");
  const place = known?.search === search ? known.ids.indexOf(id) : -1;
  const ask = async (more) => (await send("GET", `/api/v1/events?${new URLSearchParams([...new URLSearchParams(search), ...Object.entries(more)])}`)).events;
  const [last] = place > 0 ? [{ event: { id: known.ids[place - 1] } }] : (await ask({ after: id, limit: "200" }).catch(() => [])).slice(-1);
  const [first] = place >= 0 && place < known.ids.length - 1 ? [{ event: { id: known.ids[place + 1] } }] : await ask({ before: id, limit: "1" }).catch(() => []);
  for (const [name, found] of [["newer", last], ["older", first]]) {
    if (found) byId(name).href = `/events/${found.event.id}${search}`;
    else byId(name).removeAttribute("href");
  }
}

const go = (name) => byId(name).href && location.assign(byId(name).href);

keys({
  j: ["event.older_one", () => go("older")],
  k: ["event.newer", () => go("newer")],
  r: ["events.key.review", review],
  b: ["event.show_boxes", () => byId("show-boxes").click()],
  Escape: ["event.back", () => go("back")],
});

function showRole() {
  document.body.classList.toggle("may-change", mayChange());
  for (const name of ["verdict", "tags", "note"]) byId(name).disabled = !mayChange();
  if (mayChange()) keys({ p: ["events.key.pin", pin], "#": ["events.key.delete", remove] });
}

// What happens meanwhile.

function take(fresh) {
  const before = record;
  record = fresh;
  const { event } = record;
  setText(byId("event-title"), t("event.at", { label: titleOf(event), camera: event.camera }));
  setText(byId("event-when"), localTime(event.start.wall, null));
  document.title = t("event.page_title", { label: titleOf(event), camera: event.camera, time: localTime(event.start.wall, null) });
  byId("timeline").href = `/timeline?camera=${encodeURIComponent(event.camera)}&at=${encodeURIComponent(event.start.wall)}`;
  fillSaid();
  showDelivery();
  const without = (known) => known && JSON.stringify({ ...known.event, annotations: null, pinned: null });
  if (without(before) === without(record)) return;
  showFacts();
  showFilm();
  showStill();
  document.querySelector(".one-event").hidden = false;
  if (event.state !== "open") loadPath();
}

/** The path is in the event's file alone. */
async function loadPath() {
  const file = await send("GET", fileUrl(id, "event.json")).catch(() => null);
  path = file?.path ?? [];
  byId("boxes-label").hidden = path.length === 0;
  showStill();
  drawBox();
}

const changed = (fresh) => record && fresh.event.id === id && take(fresh);
const deleted = (which) => record && which.id === id && gone(t("event.deleted"));

async function refresh() {
  const fresh = await send("GET", api).catch(({ code }) => code === "not_found" && deleted({ id }));
  if (fresh && record) take(fresh);
}

me = await send("GET", "/api/v1/me").catch(() => me);
showRole();
neighbours();
try {
  take(await send("GET", api));
  followEvents({ update: changed, end: changed, delete: deleted, reset: refresh }, refresh);
} catch (error) {
  gone(error.message);
}
