// Several photos at once: chosen in the gallery, then put into an album, made favourites or put into the trash.

import { byId, element, setText } from "./dom.js";
import { button, send, show } from "./form.js";
import { ownAlbums, putInto, takeOut } from "./photos-albums.js";
import { albumShown } from "./photos-search.js";
import { t } from "./texts.js";

const bar = byId("selection");
const outcome = bar.querySelector(".outcome");
const album = byId("into-album");
const toggle = byId("select");
const mayAct = document.body.dataset.acts === "true";
const chosen = new Set();
const inTrash = () => byId("trash").getAttribute("aria-pressed") === "true";
let changed = () => null;

export const isSelecting = () => toggle.getAttribute("aria-pressed") === "true";
export const isChosen = (id) => chosen.has(id);
/** Calls `act` when photos were changed. */
export const onChanged = (act) => (changed = act);

function draw() {
  bar.hidden = !isSelecting();
  setText(byId("selected"), t("photos.selected", { count: chosen.size }));
  for (const act of bar.querySelectorAll("button, select")) act.disabled = chosen.size === 0;
  byId("take-out").hidden = albumShown() === "";
  trash.hidden = inTrash();
  remove.hidden = !inTrash();
  for (const tile of document.querySelectorAll("#gallery li")) mark(tile);
}

/** Shows on a tile whether its photo is chosen. */
export function mark(tile) {
  const face = tile.querySelector("button");
  if (!face) return;
  if (isSelecting()) face.setAttribute("aria-pressed", String(chosen.has(tile.dataset.id)));
  else face.removeAttribute("aria-pressed");
}

export function choose(id) {
  if (!chosen.delete(id)) chosen.add(id);
  draw();
}

function end() {
  chosen.clear();
  toggle.setAttribute("aria-pressed", "false");
  draw();
}

async function each(act) {
  for (const id of [...chosen]) {
    await act(id);
    chosen.delete(id);
    draw();
  }
}

async function run(act) {
  show(outcome, "", false);
  try {
    if ((await act()) === false) return;
    end();
    changed();
  } catch (error) {
    show(outcome, error.message, true);
  }
}

toggle.addEventListener("click", () => {
  if (isSelecting()) return end();
  toggle.setAttribute("aria-pressed", "true");
  const own = ownAlbums().map(({ id, title }) => element("option", { value: id }, title));
  album.replaceChildren(element("option", { value: "" }, t("photos.into_album")), ...own, element("option", { value: "new" }, t("photos.new_album")));
  show(outcome, "", false);
  draw();
});
byId("trash").addEventListener("click", end);
album.addEventListener("change", () => {
  const id = album.value;
  album.value = "";
  if (id) run(() => putInto(id === "new" ? "" : id, [...chosen]));
});
byId("take-out").addEventListener("click", () => run(() => takeOut([...chosen])));
byId("make-favorites").addEventListener("click", () => run(() => each((id) => send("PATCH", `/api/v1/photos/${id}/favorite`, { favorite: true }))));

/** Seconds of `+1:30`, `-0:05` or `+2d`; none of anything else. */
function shiftOf(text) {
  const [, sign, days, hours, minutes, seconds] = /^\s*([+\-−]?)(?:(\d{1,5})\s*d|(\d{1,5}):(\d\d)(?::(\d\d))?)\s*$/u.exec(text) ?? [];
  if (days === undefined && hours === undefined) return null;
  const amount = Number(days ?? 0) * 86400 + Number(hours ?? 0) * 3600 + Number(minutes ?? 0) * 60 + Number(seconds ?? 0);
  return sign === "-" || sign === "−" ? -amount : amount;
}

byId("shift")?.addEventListener("click", () => run(async () => {
  const text = prompt(t("photos.shift_ask"), "+1:00");
  if (text === null) return false;
  const shift_s = shiftOf(text);
  if (shift_s === null) throw new Error(t("photos.shift_wrong", { text }));
  await each((id) => send("PATCH", `/api/v1/photos/${id}`, { taken: { shift_s } }));
}));
const toTrash = (id) => send("PATCH", `/api/v1/photos/${id}`, { trashed: true });
const forGood = (id) => send("DELETE", `/api/v1/photos/${id}`);
const trash = button(t("photos.to_trash"), outcome, () => run(() => each(toTrash)), t("photos.trash_ask"));
const remove = button(t("photos.delete"), outcome, () => run(() => each(forGood)), t("photos.delete_these_ask"));
if (mayAct) byId("selection-acts").append(trash, remove);
