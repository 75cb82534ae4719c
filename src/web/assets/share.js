// Shares a file of the event by a link.

import { byId, element } from "./dom.js";
import { clipsOf } from "./event-view.js";
import { send, show } from "./form.js";
import { makeLinks } from "./share-form.js";

const event = location.pathname.split("/").at(-1);
const panel = byId("share");
const form = byId("share-form");

/** What can be shared: clips and stills. */
async function offerFiles() {
  const record = await send("GET", `/api/v1/events/${encodeURIComponent(event)}`);
  const { event: of } = record;
  const films = of.shares?.length ? [{ file: "video.mp4" }] : clipsOf(of);
  const files = [...films, ...(of.pictures ?? [])].map(({ file }) => file);
  byId("share-file").replaceChildren(...files.map((file) => element("option", { value: file }, file)));
}

if (panel) {
  panel.addEventListener("toggle", () => {
    if (panel.open) offerFiles().catch((error) => show(form.querySelector(".outcome"), error.message, true));
  });
  makeLinks(form, (fields) => ({ event, file: fields.get("file") }));
}
