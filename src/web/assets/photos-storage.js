// Where the original of the photo that is shown lies, and bringing it back.

import { byId, element, setText } from "./dom.js";
import { send } from "./form.js";
import { bytes } from "./format.js";
import { t } from "./texts.js";

const SOON_MS = 2000;
const place = byId("photo-away");
const button = byId("photo-fetch");
let timer = 0;
let current = "";
let back = () => null;

/** Calls `act` when the original of the photo that is shown has come back. */
export const onBack = (act) => (back = act);

function show({ here, away, fetched_bytes: done, waits_in }) {
  const isComing = done !== undefined;
  if (here && !place.hidden) back();
  place.hidden = here || !away;
  byId("photo-original").hidden = !here;
  if (place.hidden) return;
  const picture = element("img", { src: `/api/v1/photos/${current}/large.jpg`, alt: "" });
  byId("photo-stage").querySelector("video")?.replaceWith(picture);
  const values = { destination: away.destination.replace("upload/", ""), done: bytes(done ?? 0), size: bytes(away.bytes) };
  setText(place.firstElementChild, t(isComing ? "photos.fetching" : "photos.away", values));
  if (button) button.hidden = isComing;
  if (waits_in.length) timer = setTimeout(() => refresh(current), SOON_MS);
}

async function refresh(id) {
  const state = await send("GET", `/api/v1/photos/${id}/storage`).catch(() => null);
  if (state && id === current) show(state);
}

/** Says where the original of the photo `id` is, as long as that is shown; empty for none. */
export function showStorage(id) {
  clearTimeout(timer);
  current = id;
  place.hidden = true;
  byId("photo-original").hidden = false;
  if (id) refresh(id);
}

button?.addEventListener("click", async () => {
  const id = current;
  try {
    const state = await send("POST", `/api/v1/photos/${id}/fetch`);
    if (id === current) show(state);
  } catch (error) {
    setText(place.firstElementChild, error.message);
  }
});
