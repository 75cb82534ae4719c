// Parts of the page of photos that open above it.

import { byId } from "./dom.js";

/** Opens the dialog `id` by its button, and calls `act` then; nothing where the user has no such dialog. */
export function openBy(id, act) {
  const dialog = byId(id);
  if (!dialog) return;
  byId(`${id}-open`).addEventListener("click", () => {
    dialog.showModal();
    act();
  });
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
}
