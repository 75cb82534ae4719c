// The form that makes a link, for someone without a login.

import { byId } from "./dom.js";
import { onSubmit, send } from "./form.js";
import { when } from "./format.js";
import { t } from "./texts.js";

const DAY_MS = 24 * 3600 * 1000;

function showLink({ link, expires }) {
  byId("share-link").value = `${location.origin}/shared#${link}`;
  byId("share-until").textContent = t("share.until", { time: when(expires) });
  byId("share-made").hidden = false;
  byId("share-link").select();
}

/** Makes links with `form`; `itemOf` gives what a link leads to, from what is filled in. */
export function makeLinks(form, itemOf) {
  onSubmit(form, async (fields) => {
    const expires = new Date(Date.now() + Number(fields.get("days")) * DAY_MS).toISOString();
    const views = fields.get("views") ? Number(fields.get("views")) : null;
    const body = { ...itemOf(fields), expires, most_views: views, password: fields.get("password") || null };
    showLink(await send("POST", "/api/v1/shares", body));
    form.reset();
  });
  byId("share-copy").addEventListener("click", async () => {
    byId("share-link").select();
    // Plain HTTP gives no clipboard: the link is selected then.
    await navigator.clipboard?.writeText(byId("share-link").value).catch(() => null);
  });
}
