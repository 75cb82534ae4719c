// Where photos were taken: dots on a plain grid of degrees, and the same places as a list. No map of another host is needed.

import { byId, element, setText } from "./dom.js";
import { send } from "./form.js";
import { openBy } from "./photos-dialog.js";
import { addToLine, onQuestion, question } from "./photos-search.js";
import { locale, t } from "./texts.js";

const WIDTH = 720;
const HEIGHT = 360;
const WORLD = { south: -90, north: 90, west: -180, east: 180 };
const FINEST = 0.01;
const part = byId("map");
const plot = byId("map-plot");
let area = WORLD;

const shape = (name, attributes) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};
const x = (longitude) => ((longitude - area.west) / (area.east - area.west)) * WIDTH;
const y = (latitude) => ((area.north - latitude) / (area.north - area.south)) * HEIGHT;

function degrees(value, [positive, negative], side) {
  const digits = Math.max(0, Math.ceil(-Math.log10(side)));
  const number = Math.abs(value).toLocaleString(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return value === 0 ? `${number}°` : `${number}° ${value < 0 ? negative : positive}`;
}

/** Lines of latitude and longitude, some five each way, with their degrees. */
function grid() {
  const lines = [];
  const steps = [30, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01];
  const step = (from, to) => steps.find((size) => (to - from) / size >= 5) ?? FINEST;
  const each = (from, to, act) => {
    const size = step(from, to);
    // None on the lower edges, where the labels of both would lie upon each other.
    for (let n = Math.floor(from / size) + 1; n * size <= to; n += 1) act(n * size, size);
  };
  const label = (text, at) => {
    const made = shape("text", at);
    made.textContent = text;
    return made;
  };
  each(area.west, area.east, (at, size) => lines.push(shape("line", { x1: x(at), x2: x(at), y1: 0, y2: HEIGHT }), label(degrees(at, ["E", "W"], size), { x: x(at) + 3, y: HEIGHT - 4 })));
  each(area.south, area.north, (at, size) => lines.push(shape("line", { x1: 0, x2: WIDTH, y1: y(at), y2: y(at) }), label(degrees(at, ["N", "S"], size), { x: 3, y: y(at) - 3 })));
  return lines;
}

/** Looks closer, at an area for which the box has a finer grid; at the finest grid the photos of the place are searched for. */
function enter({ latitude, longitude, side }) {
  if (side <= FINEST) {
    part.close();
    return addToLine(`near:${latitude.toFixed(4)},${longitude.toFixed(4)},1`, "near:");
  }
  const inside = (at, least, most) => Math.min(most, Math.max(least, at));
  area = {
    south: inside(latitude - 0.8 * side, -90, 90), north: inside(latitude + 0.8 * side, -90, 90),
    west: inside(longitude - 1.6 * side, -180, 180), east: inside(longitude + 1.6 * side, -180, 180),
  };
  draw();
}

function place(found) {
  const { latitude, longitude, side, photos, example } = found;
  const picture = example ? element("img", { src: `/api/v1/photos/${example}/small.jpg`, loading: "lazy", decoding: "async", alt: "" }) : element("span", { class: "face" });
  const where = `${degrees(latitude, ["N", "S"], side / 10)}, ${degrees(longitude, ["E", "W"], side / 10)}`;
  const button = element("button", { type: "button" }, picture, element("b", {}, where), element("span", { class: "quiet" }, t("photos.map_count", { count: photos })));
  button.addEventListener("click", () => enter(found));
  return element("li", {}, button);
}

async function draw() {
  if (!part.open) return;
  byId("map-all").hidden = area === WORLD;
  try {
    const { places } = await send("GET", `/api/v1/photos/places?${new URLSearchParams({ ...question(), ...area })}`);
    const dots = places.map((found) => {
      const dot = shape("circle", { cx: x(found.longitude), cy: y(found.latitude), r: 4 + 2 * Math.log2(found.photos) });
      dot.addEventListener("click", () => enter(found));
      return dot;
    });
    plot.replaceChildren(...grid(), ...dots);
    byId("map-places").replaceChildren(...places.sort((a, b) => b.photos - a.photos).slice(0, 60).map(place));
    setText(byId("map-status"), places.length ? "" : t("photos.map_none"));
  } catch (error) {
    setText(byId("map-status"), error.message);
  }
}

openBy("map", draw);
byId("map-all").addEventListener("click", () => {
  area = WORLD;
  draw();
});
onQuestion(draw);
