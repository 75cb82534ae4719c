// What was shared, for someone without a login. The link's secret stands behind "#", so no address holds it.

import { byId, element, nearEnd, setText } from "./dom.js";
import { onSubmit, send } from "./form.js";
import { when } from "./format.js";
import { t } from "./texts.js";

const form = byId("open");
const link = location.hash.slice(1);
const isVideo = (name) => name.startsWith("video.");

function gone(error) {
  byId("gone").textContent = error.message;
  byId("gone").hidden = false;
}

function display(url, name, at, width = 0, height = 0) {
  byId("shown").hidden = false;
  for (const player of ["video", "picture"]) byId(player).hidden = true;
  const player = byId(isVideo(name) ? "video" : "picture");
  // Not every browser shows every original; a picture of it all do.
  player.src = isVideo(name) || name.endsWith(".jpg") ? url : url.replace(/[^/]+$/u, "large.jpg");
  // What comes below keeps its place while the picture is loaded.
  player.style.aspectRatio = width && height ? `${width} / ${height}` : "";
  player.hidden = false;
  setText(byId("at"), at ? `${when(at)} · ` : "");
  byId("download").href = url;
  byId("download").download = name;
}

function tile(list, { id, name, width, height }, number) {
  const url = `${list}/${id}`;
  const picture = element("img", { src: `${url}/small.jpg`, loading: "lazy", decoding: "async", alt: "" });
  const button = element("button", { type: "button", "aria-label": t("shared.photo", { number }) }, picture, isVideo(name) ? element("span", { class: "mark" }, t("photos.video")) : null);
  button.addEventListener("click", () => {
    display(`${url}/${name}`, name, null, width, height);
    byId("shown").scrollIntoView();
  });
  return element("li", {}, button);
}

function displayAlbum(list) {
  byId("album").hidden = false;
  let next = "";
  let count = 0;
  let loading = false;
  const load = async () => {
    if (loading || next === null) return;
    loading = true;
    try {
      const page = await send("GET", next ? `${list}?${new URLSearchParams({ before: next })}` : list);
      setText(byId("album-title"), page.title);
      byId("photos").append(...page.photos.map((photo) => tile(list, photo, (count += 1))));
      byId("empty").hidden = count > 0;
      next = page.next ?? null;
      grown();
    } catch (error) {
      next = null;
      gone(error);
    } finally {
      loading = false;
    }
  };
  const grown = nearEnd(byId("end"), load);
}

function displayOpened({ url, name, at }) {
  form.hidden = true;
  if (name === "photos") displayAlbum(url);
  else display(url, name, at);
}

const open = (password) => send("POST", "/api/v1/shared/open", { link, password });

onSubmit(form, async (fields) => displayOpened(await open(fields.get("password"))));

open(null).then(displayOpened, (error) => {
  if (error.code === "password_needed") {
    form.hidden = false;
    byId("password").focus();
    return;
  }
  gone(error);
});
