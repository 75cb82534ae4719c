// Photos that look alike: one of each group is kept, and has all that was said of the others, which go to the trash.

import { byId, element, setText } from "./dom.js";
import { send, show } from "./form.js";
import { bytes } from "./format.js";
import { openBy } from "./photos-dialog.js";
import { t } from "./texts.js";

const list = byId("similar-groups");
let changed = () => null;

/** Calls `act` when photos were merged. */
export const onMerged = (act) => (changed = act);

function choice(photo, group, at) {
  const { facts } = photo;
  const size = t("photos.similar_size", { width: facts.width, height: facts.height, size: bytes(photo.bytes) });
  const input = element("input", { type: "radio", name: `group-${group}`, value: photo.id });
  input.checked = at === 0;
  const picture = element("img", { src: `/api/v1/photos/${photo.id}/small.jpg`, loading: "lazy", decoding: "async", alt: "" });
  return element("li", {}, element("label", {}, picture, element("span", {}, input, " ", photo.title || photo.name), element("span", { class: "quiet" }, size)));
}

function row({ photos }, number) {
  const outcome = element("p", { class: "outcome", role: "status" });
  outcome.hidden = true;
  const keep = element("button", { type: "button", class: "plain" }, t("photos.similar_keep", { count: photos.length - 1 }));
  const item = element("li", {}, element("ul", { class: "photos" }, ...photos.map((photo, at) => choice(photo, number, at))), keep, outcome);
  keep.addEventListener("click", async () => {
    const kept = item.querySelector("input:checked").value;
    const others = photos.map(({ id }) => id).filter((id) => id !== kept);
    keep.disabled = true;
    try {
      await send("POST", "/api/v1/photos/merge", { keep: kept, others });
      item.remove();
      count();
      changed();
    } catch (error) {
      show(outcome, error.message, true);
      keep.disabled = false;
    }
  });
  return item;
}

function count() {
  setText(byId("similar-status"), t("photos.similar_found", { count: list.children.length }));
}

openBy("similar", async () => {
  list.replaceChildren();
  try {
    const { groups } = await send("GET", "/api/v1/photos/similar");
    list.replaceChildren(...groups.map(row));
    count();
  } catch (error) {
    setText(byId("similar-status"), error.message);
  }
});
