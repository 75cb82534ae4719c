// Albums: the row of them above the photos, and the one that is shown with what its owner may change.

import { byId, element, setText } from "./dom.js";
import { listOf, onSubmit, send, show } from "./form.js";
import { albumShown, onQuestion, showAlbum } from "./photos-search.js";
import { askToShare } from "./photos-share.js";
import { t } from "./texts.js";

const row = byId("albums");
const head = byId("album");
const form = byId("album-form");
const mayAct = document.body.dataset.acts === "true";
let albums = [];

/** Albums that the user may put photos into. */
export const ownAlbums = () => albums.filter(({ own }) => own);

function card(album) {
  const face = album.face
    ? element("img", { src: `/api/v1/photos/${album.face}/small.jpg`, loading: "lazy", decoding: "async", alt: "" })
    : element("span", { class: "face" });
  const about = t(album.own ? "photos.album_count" : "photos.album_of", { count: album.count, owner: album.owner });
  const open = element("button", { type: "button" }, face, element("b", {}, album.title), element("span", { class: "quiet" }, about));
  open.addEventListener("click", () => showAlbum(album.id));
  return element("li", {}, open);
}

function fill() {
  const shown = albums.find(({ id }) => id === albumShown());
  byId("albums-part").hidden = albumShown() !== "" || albums.length === 0;
  head.hidden = albumShown() === "";
  setText(byId("album-title"), shown?.title ?? t("photos.no_album"));
  setText(byId("album-note"), shown?.note ?? "");
  byId("album-edit").hidden = !(mayAct && shown?.own);
  const share = byId("album-share");
  if (share) share.hidden = !shown?.own;
  if (!shown) return;
  for (const name of ["title", "note", "order"]) form.elements.namedItem(name).value = shown[name];
  form.elements.namedItem("shared_with").value = shown.shared_with.join(", ");
  form.elements.namedItem("everyone").checked = shown.everyone;
}

/** Reads the albums again. */
export async function loadAlbums() {
  ({ albums } = await send("GET", "/api/v1/albums"));
  row.replaceChildren(...albums.map(card));
  fill();
}

/** Puts photos into an album: one that is there, or a new one. */
export async function putInto(id, ids) {
  if (id) await send("PATCH", `/api/v1/albums/${id}`, { add: ids });
  else {
    const title = prompt(t("photos.album_ask"));
    if (!title?.trim()) return false;
    await send("POST", "/api/v1/albums", { title, add: ids });
  }
  await loadAlbums();
  return true;
}

/** Takes photos out of the album that is shown. */
export async function takeOut(ids) {
  await send("PATCH", `/api/v1/albums/${albumShown()}`, { remove: ids });
  await loadAlbums();
}

onSubmit(form, async (data) => {
  const shared_with = listOf(data.get("shared_with"));
  const change = { title: data.get("title"), note: data.get("note"), order: data.get("order"), everyone: data.get("everyone") !== null, shared_with };
  await send("PATCH", `/api/v1/albums/${albumShown()}`, change);
  await loadAlbums();
  return t("photos.saved");
});

byId("album-delete").addEventListener("click", async () => {
  if (!confirm(t("photos.album_delete_ask"))) return;
  try {
    await send("DELETE", `/api/v1/albums/${albumShown()}`);
    showAlbum("");
    await loadAlbums();
  } catch (error) {
    show(form.querySelector(".outcome"), error.message, true);
  }
});
byId("album-close").addEventListener("click", () => showAlbum(""));
byId("album-share")?.addEventListener("click", () => askToShare({ album: albumShown() }, byId("album-title").textContent));
onQuestion(fill);
