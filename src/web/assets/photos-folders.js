// Folders whose files become photos: cards and sticks that are imported, and folders that are watched.

import { byId, element, setText } from "./dom.js";
import { listOf, onSubmit, send } from "./form.js";
import { bytes, when } from "./format.js";
import { openBy } from "./photos-dialog.js";
import { named, t } from "./texts.js";

const SOON_MS = 2000;
const part = byId("folders");
const form = byId("import-form");
let timer = 0;
let added = () => null;
let sum = 0;

/** Calls `act` when imports have brought photos. */
export const onImported = (act) => (added = act);

const isPending = ({ state }) => state === "waiting" || state === "running";

function source({ path, used }) {
  const button = element("button", { type: "button", class: "plain" }, used === undefined ? path : t("photos.import_source", { path, used: bytes(used) }));
  button.addEventListener("click", () => (form.elements.path.value = path));
  return element("li", {}, button);
}

/** Files that were not taken in, with the reasons. */
function refusals(files, count) {
  if (!files.length) return null;
  const list = element("ul", {}, ...files.map(({ file, reason }) => element("li", {}, file ? `${file}: ${reason}` : reason)));
  return element("details", {}, element("summary", {}, t("photos.import_refused", { count })), list);
}

function row(one) {
  const { report } = one;
  const says = [named("photos.import_state", one.state)];
  if (one.state === "running" && one.files) says.push(t("photos.import_progress", { looked: one.looked_at, files: one.files }));
  says.push(t("photos.import_report", report));
  if (report.deleted) says.push(t("photos.import_deleted", { count: report.deleted }));
  if (report.other) says.push(t("photos.import_other", { count: report.other }));
  const remove = element("button", { type: "button", class: "plain" }, t(isPending(one) ? "photos.import_cancel" : "photos.import_forget"));
  remove.addEventListener("click", () => send("DELETE", `/api/v1/photos/imports/${one.id}`).catch(() => null).then(refresh));
  const bar = one.state === "running" ? element("progress", { max: one.bytes || 1, value: one.looked_at_bytes, "aria-label": one.path }) : null;
  const error = one.error ? element("p", { class: "bad" }, one.error) : null;
  const facts = element("p", {}, element("b", {}, one.path), " ", element("span", { class: "quiet" }, says.join(", ")), " ", remove);
  const parts = [facts, bar, error, refusals(report.refused_files, report.refused)];
  return element("li", {}, ...parts.filter(Boolean));
}

function watched(folder) {
  const says = [named("photos.watched_state", folder.state), t("photos.watched_files", { count: folder.files, added: folder.added })];
  if (folder.waiting) says.push(t("photos.watched_waiting", { count: folder.waiting }));
  if (folder.looked_through) says.push(when(folder.looked_through));
  const error = folder.error ? element("p", { class: "bad" }, folder.error) : null;
  const facts = element("p", {}, element("b", {}, `${folder.name} (${folder.path})`), " ", element("span", { class: "quiet" }, says.join(", ")));
  return element("li", {}, ...[facts, error, refusals(folder.refused, folder.refused.length)].filter(Boolean));
}

/** Replaces the rows of a list; one that is as it was stays, and with it what is open there. */
function fill(list, all, make) {
  const rows = new Map([...list.children].map((item) => [item.dataset.was, item]));
  list.replaceChildren(...all.map((one) => {
    const is = JSON.stringify(one);
    const item = rows.get(is) ?? make(one);
    item.dataset.was = is;
    return item;
  }));
}

async function refresh() {
  clearTimeout(timer);
  if (!part.open) return;
  try {
    const [{ sources, imports }, { folders }] = await Promise.all([send("GET", "/api/v1/photos/imports"), send("GET", "/api/v1/photos/watched")]);
    fill(byId("import-sources"), sources, source);
    fill(byId("imports"), imports, row);
    fill(byId("watched"), folders, watched);
    byId("watched-title").hidden = folders.length === 0;
    setText(byId("import-none"), sources.length ? "" : t("photos.import_none"));
    const now = [...imports.map((one) => one.report), ...folders].reduce((all, one) => all + one.added, 0);
    if (sum && now > sum) added();
    sum = now;
    if (imports.some(isPending) || folders.some(({ waiting }) => waiting)) timer = setTimeout(refresh, SOON_MS);
  } catch (error) {
    setText(byId("import-none"), error.message);
  }
}

if (part) {
  openBy("folders", refresh);
  onSubmit(form, async (data) => {
    const tags = listOf(data.get("tags"));
    await send("POST", "/api/v1/photos/imports", { path: data.get("path").trim(), private: data.get("private") !== null, tags });
    sum ||= 1;
    await refresh();
    return t("photos.import_begun");
  });
}
