// Who did and looked at what.

import { byId, element, showFilled } from "./dom.js";
import { onSubmit, send, show } from "./form.js";
import { locale, t } from "./texts.js";

const PAGE = 100;
const [form, entries, older] = ["filters", "entries", "older"].map(byId);
let next = null;

const cell = (text) => element("td", {}, text);

/** The path, with an event in it as a link to its page. */
function linked(text) {
  const [, before, id, after] = /^(.*\/api\/v1\/events\/)([0-7][0-9A-HJKMNP-TV-Z]{25})(.*)$/s.exec(text) ?? [];
  return id ? [before, element("a", { href: `/events/${id}` }, id), after] : [text];
}

const exact = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" });

function row({ at, who, kind, address, action, target, status }) {
  // The target is the path as it was asked for, with what it was about behind it.
  const [method] = action.split(" ", 1);
  const what = target.startsWith("/") ? `${method} ${target}` : `${action} ${target}`;
  return element("tr", {}, cell(exact.format(new Date(at))), cell(who || "–"), cell([kind, address].filter(Boolean).join(", ") || "–"), element("td", { class: "path" }, ...linked(what)), cell(String(status)));
}

async function load(isFirst) {
  const query = new URLSearchParams({ limit: String(PAGE) });
  for (const name of ["who", "text"]) if (form.elements[name].value.trim()) query.set(name, form.elements[name].value.trim());
  if (!isFirst) query.set("before", String(next));
  const answer = await send("GET", `/api/v1/audit?${query}`);
  const rows = answer.entries.map(row);
  if (isFirst) entries.replaceChildren(...rows);
  else entries.append(...rows);
  next = answer.next ?? null;
  older.hidden = next === null;
  byId("none").hidden = entries.children.length > 0;
}

const fail = (error) => show(form.querySelector(".outcome"), error.message || t("error.try_again"), true);

onSubmit(form, () => load(true));
older.addEventListener("click", () => load(false).catch(fail));
load(true).catch(fail).finally(showFilled);
