// Shares a file of the event by a link, for someone without a login.

import { byId, element } from "./dom.js";
import { clipsOf } from "./event-view.js";
import { onSubmit, send, show } from "./form.js";
import { when } from "./format.js";
import { t } from "./texts.js";

const DAY_MS = 24 * 3600 * 1000;
const event = location.pathname.split("/").at(-1);
const panel = byId("share");
const form = byId("share-form");

/** What can be shared: clips and stills. */
async function offerFiles() {
  const record = await send("GET", `/api/v1/events/${encodeURIComponent(event)}`);
  const files = [...clipsOf(record.event), ...(record.event.pictures ?? [])].map(({ file }) => file);
  byId("share-file").replaceChildren(...files.map((file) => element("option", { value: file }, file)));
}

function showLink({ link, expires }) {
  byId("share-link").value = `${location.origin}/shared#${link}`;
  byId("share-until").textContent = t("share.until", { time: when(expires) });
  byId("share-made").hidden = false;
  byId("share-link").select();
}

if (panel) {
  panel.addEventListener("toggle", () => {
    if (panel.open) offerFiles().catch((error) => show(form.querySelector(".outcome"), error.message, true));
  });
  onSubmit(form, async (fields) => {
    const expires = new Date(Date.now() + Number(fields.get("days")) * DAY_MS).toISOString();
    const views = fields.get("views") ? Number(fields.get("views")) : null;
    const body = { event, file: fields.get("file"), expires, most_views: views, password: fields.get("password") || null };
    showLink(await send("POST", "/api/v1/shares", body));
    form.reset();
  });
  byId("share-copy").addEventListener("click", async () => {
    byId("share-link").select();
    // Plain HTTP gives no clipboard: the link is selected then.
    await navigator.clipboard?.writeText(byId("share-link").value).catch(() => null);
  });
}
