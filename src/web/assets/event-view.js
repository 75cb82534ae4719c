// What the overview, the list and the page of one event say of an event in the same way.

import { byId, element } from "./dom.js";
import { send } from "./form.js";
import { duration, objectName } from "./format.js";
import { named, t } from "./texts.js";

const LATER_MS = 30_000;

/**
 * Follows events while the page is looked at: `acts` by the names of messages. Where some may have been missed, `refresh` is
 * called; while none come, the page says so in `#outdated`.
 */
export function followEvents(acts, refresh) {
  let [stream, timer, isBehind] = [null, 0, false];
  const connect = () => {
    clearTimeout(timer);
    stream?.close();
    if (document.hidden) {
      isBehind = true;
      return;
    }
    stream = new EventSource("/api/v1/stream?kinds=events");
    for (const [name, act] of Object.entries(acts)) stream.addEventListener(name, ({ data }) => act(JSON.parse(data)));
    stream.addEventListener("open", () => {
      byId("outdated").hidden = true;
      if (isBehind) refresh();
      isBehind = false;
    });
    stream.addEventListener("error", ({ target }) => {
      isBehind = true;
      byId("outdated").hidden = false;
      if (target.readyState !== EventSource.CLOSED) return;
      // A browser does not try again by itself where the answer was no stream. Without a session, this leads to the login.
      send("GET", "/api/v1/me").catch(() => null);
      timer = setTimeout(connect, LATER_MS);
    });
  };
  document.addEventListener("visibilitychange", connect);
  connect();
}

export const fileUrl = (id, file) => `/api/v1/events/${encodeURIComponent(id)}/${encodeURIComponent(file)}`;
export const picture = (event, ...names) => names.find((name) => event.pictures?.some((file) => file.file === name));

/**
 * Its video in the order of time: parts of other events' clips, then its own files. Each with the time of the first picture of
 * its file; parts with where they begin and end in it.
 */
export function filmOf(event) {
  const part = (shared) => ({ ...shared, ends_s: shared.offset_s + shared.duration_s, start: { mono_ns: event.start.mono_ns + (shared.after_s - shared.offset_s) * 1e9 } });
  return [...(event.shares ?? []).map(part), ...clipsOf(event)];
}

/** The same as one file, which the box makes. */
export const wholeOf = (event) => filmOf(event).slice(0, 1).map((part) => ({ file: "video.mp4", start: { mono_ns: event.start.mono_ns + (part.after_s ?? 0) * 1e9 } }));

/** The files of the clip: more than one where the camera changed its parameters meanwhile. */
export const clipsOf = (event) => [...(event.clip ? [event.clip] : []), ...(event.more_clips ?? [])];

export function titleOf({ count, label, labels = [] }) {
  if (labels.length > 1) return labels.map(objectName).join(", ");
  return count > 1 ? t("event.many", { n: count, label: objectName(label) }) : objectName(label);
}

export const placeOf = (event) => [event.camera, event.rule, event.zones.join(", ")].filter(Boolean).join(" · ");

function lengthOf(event) {
  if (!event.end || event.end.boot_id !== event.start.boot_id) return "";
  return duration((event.end.mono_ns - event.start.mono_ns) / 1e9);
}

export function stateOf(event) {
  if (event.state === "open") return t("event.going_on");
  if (event.state === "interrupted") return t("event.interrupted");
  return lengthOf(event) || t("event.ended");
}

export function lasted(event) {
  if (event.state === "open") return t("event.still_going_on");
  if (event.state === "interrupted") return [lengthOf(event), t("event.was_interrupted")].filter(Boolean).join(", ");
  return lengthOf(event) || t("event.not_known");
}

// The words of the API, in the order in which they count for an event.
const DELIVERY = ["failed", "waiting", "dropped", "delivered", "not_wanted"];

export function deliveryOf(record) {
  const state = DELIVERY.find((name) => record.delivery.some((delivery) => delivery.state === name));
  return state ? { state, text: named("event.delivery", state) } : { state: "none", text: "" };
}

/** An outlet's share; names the files that hold it up where the others are further. */
export function shareOf({ outlet, state, files = [] }) {
  const held = files.filter((file) => file.state === state);
  const names = held.map(({ file }) => file).join(", ");
  const values = { outlet, state: named("event.delivery", state), files: names };
  return t(held.length < files.length ? "event.share_files" : "event.share", values);
}

/** The small picture of an event, or what stands in its place. */
export function thumbnail(event) {
  const thumb = picture(event, "thumb.jpg", "snapshot.jpg");
  if (!thumb) return element("span", { class: "blank" }, t(event.state === "open" ? "event.recording" : "event.no_picture"));
  const image = element("img", { src: fileUrl(event.id, thumb), alt: "", loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(element("span", { class: "blank" }, t("event.gone_picture"))));
  return image;
}
