// What of the library is asked for: a line of text, favourites, a month, an album. It stands in the address.

import { byId, element } from "./dom.js";
import { send } from "./form.js";
import { locale, t } from "./texts.js";

const FAVORITE = "is:favorite";
const form = byId("search");
const line = form.elements.namedItem("q");
const jump = byId("jump");
const favorites = byId("favorites");
const events = byId("with-events");
const listeners = [];
let album = "";
let shows = () => false;

const monthText = new Intl.DateTimeFormat(locale, { year: "numeric", month: "long", timeZone: "UTC" });

/** Calls `act` when something else is asked for. */
export const onQuestion = (act) => listeners.push(act);
/** Parameters of what is asked for. */
export const question = () => ({ ...(line.value.trim() ? { q: line.value.trim() } : {}), ...(album ? { album } : {}) });
export const albumShown = () => album;
/** Whether events of cameras are looked for too. */
export const withEvents = () => events.getAttribute("aria-pressed") === "true" && album === "";

function asked() {
  const params = new URLSearchParams({ ...question(), ...(withEvents() ? { events: "" } : {}) });
  events.hidden = album !== "";
  history.replaceState(null, "", params.size ? `?${params}` : location.pathname);
  favorites.setAttribute("aria-pressed", String(line.value.includes(FAVORITE)));
  for (const act of listeners) act();
}

/** Shows an album; none: all photos. */
export function showAlbum(id) {
  album = id;
  line.value = "";
  asked();
}

/** Adds a part to the line in place of one that begins in the same way. */
export function addToLine(part, start) {
  const rest = line.value.split(/\s+/).filter((word) => word && !word.startsWith(start));
  line.value = [...rest, ...(part ? [part] : [])].join(" ");
  asked();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  asked();
});
line.addEventListener("search", () => line.value === "" && asked());
favorites.addEventListener("click", () => addToLine(line.value.includes(FAVORITE) ? "" : FAVORITE, FAVORITE));

events.addEventListener("click", () => {
  events.setAttribute("aria-pressed", String(!withEvents()));
  asked();
});

/** The last day of a month, which is `2024-05`. */
function lastDay(month) {
  const [year, number] = month.split("-").map(Number);
  return new Date(Date.UTC(year, number, 0)).toISOString().slice(0, 10);
}

/** Calls `act` with the last day of a month that is to be shown; where it cannot be, what comes before is asked for. */
export const onMonth = (act) => (shows = act);

jump.addEventListener("change", () => {
  const day = jump.value ? lastDay(jump.value) : "9999-12-31";
  if (!shows(day)) addToLine(jump.value ? `before:${nextDay(day)}` : "", "before:");
});

const nextDay = (day) => new Date(Date.parse(`${day}T00:00:00Z`) + 86400000).toISOString().slice(0, 10);

/** Says which month is in sight. */
export function showDay(day) {
  const month = day.slice(0, 7);
  if (document.activeElement !== jump && [...jump.options].some(({ value }) => value === month)) jump.value = month;
}

/** Fills the choice of months. */
export async function loadMonths() {
  const { days } = await send("GET", `/api/v1/photos/days?${new URLSearchParams(album ? { album } : {})}`);
  const months = new Map();
  for (const { day, photos } of days) months.set(day.slice(0, 7), (months.get(day.slice(0, 7)) ?? 0) + photos);
  const chosen = jump.value;
  const choice = ([month, count]) =>
    element("option", { value: month }, t("photos.month", { month: monthText.format(new Date(`${month}-01T00:00:00Z`)), count }));
  jump.replaceChildren(element("option", { value: "" }, t("photos.newest")), ...[...months].map(choice));
  jump.value = months.has(chosen) ? chosen : "";
  jump.disabled = months.size === 0;
}

const params = new URLSearchParams(location.search);
line.value = params.get("q") ?? "";
album = params.get("album") ?? "";
events.hidden = album !== "";
events.setAttribute("aria-pressed", String(params.has("events")));
favorites.setAttribute("aria-pressed", String(line.value.includes(FAVORITE)));
