// Links to files that the caller made; an admin sees those of all.

import { byId, element } from "./dom.js";
import { button, send, show } from "./form.js";
import { when } from "./format.js";
import { locale, t } from "./texts.js";

const list = byId("links");
const cell = (content) => element("td", {}, content);

/** What a link leads to. */
function target({ event, file, camera, at, photo, album }) {
  if (event) return element("a", { href: `/#${event}` }, `${camera}, ${when(at)}, ${file}`);
  return element("a", { href: album ? `/photos?album=${album}` : "/photos" }, t(album ? "links.album" : "links.photo", { id: album ?? photo }));
}

function row(share) {
  const { id, created_by: by, expires, views, most_views: most } = share;
  const opened = most ? t("links.of", { views, most }) : views.toLocaleString(locale);
  const withdraw = button(t("links.withdraw"), byId("links-outcome"), async () => {
    await send("DELETE", `/api/v1/shares/${id}`);
    await showLinks();
  });
  return element("tr", {}, cell(target(share)), cell(by), cell(when(expires)), cell(opened), element("td", { class: "acts" }, withdraw));
}

async function showLinks() {
  const { shares } = await send("GET", "/api/v1/shares");
  list.replaceChildren(...shares.map(row));
  byId("no-links").hidden = shares.length > 0;
}

if (list) showLinks().catch((error) => show(byId("links-outcome"), error.message, true));
