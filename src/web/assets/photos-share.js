// Shares a photo or an album by a link.

import { byId, setText } from "./dom.js";
import { show } from "./form.js";
import { makeLinks } from "./share-form.js";

const dialog = byId("share");
const form = byId("share-form");
let item = {};

/** Asks how `what` is shared: `{ photo }` or `{ album }`. */
export function askToShare(what, title) {
  item = what;
  setText(byId("share-of"), title);
  byId("share-made").hidden = true;
  show(form.querySelector(".outcome"), "", false);
  form.elements.namedItem("stripped").checked = true;
  dialog.showModal();
}

if (dialog) {
  makeLinks(form, (fields) => ({ ...item, stripped: fields.get("stripped") !== null }));
  byId("share-close").addEventListener("click", () => dialog.close());
}
