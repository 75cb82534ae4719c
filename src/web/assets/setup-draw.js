// Zones, lines and masks, drawn over the camera's picture. Points are shares of the picture, 0 to 1 from the left and the top.

import { byId, element, setText } from "./dom.js";
import { show } from "./form.js";
import { keys } from "./keys.js";
import { t } from "./texts.js";

const SVG = "http://www.w3.org/2000/svg";
/** What is nearer than this is snapped to, pixels of the screen. */
const SNAP_PX = 9;
const LEAST = { zone: 3, mask: 3, line: 2 };
const MOST_STEPS = 200;

const stage = document.querySelector(".draw-stage");
const canvas = byId("canvas");
const still = byId("still");

let shapes = [];
let selected = -1;
let drawing = null;
let pointer = null;
let past = [];
let future = [];
let size = { width: 640, height: 360 };
let changed = () => {};
let renamed = () => {};

const round = (value) => Math.round(Math.min(1, Math.max(0, value)) * 10000) / 10000;
const copy = () => structuredClone({ shapes, selected });

function svg(tag, props, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(props)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** Remembers what is there, before it changes. */
function step() {
  past.push(copy());
  if (past.length > MOST_STEPS) past.shift();
  future = [];
}

function go(from, to) {
  const state = from.pop();
  if (!state) return;
  to.push(copy());
  ({ shapes, selected } = state);
  drawing = null;
  update();
}

const undo = () => {
  if (drawing?.points.length) {
    drawing.points.pop();
    return update();
  }
  go(past, future);
};
const redo = () => go(future, past);

/** Where an event is in the picture. */
function place(event) {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

/** The nearest edge of the picture, or point of another shape. */
function snapped([x, y], except) {
  const box = canvas.getBoundingClientRect();
  const [dx, dy] = [SNAP_PX / box.width, SNAP_PX / box.height];
  for (const shape of shapes) {
    for (const point of shape.points) {
      if (point !== except && Math.abs(point[0] - x) < dx && Math.abs(point[1] - y) < dy) return [...point];
    }
  }
  const edge = (value, near) => (value < near ? 0 : value > 1 - near ? 1 : value);
  return [round(edge(x, dx)), round(edge(y, dy))];
}

function freeName(kind) {
  const taken = new Set(shapes.filter((shape) => shape.kind === kind).map((shape) => shape.name));
  let n = 1;
  while (taken.has(`${kind}${n}`)) n += 1;
  return `${kind}${n}`;
}

function begin(kind, byKeyboard) {
  if (byKeyboard) {
    const points = kind === "line" ? [[0.3, 0.5], [0.7, 0.5]] : [[0.35, 0.35], [0.65, 0.35], [0.65, 0.65], [0.35, 0.65]];
    finish({ kind, points });
    canvas.querySelector(".handle")?.focus();
    return;
  }
  drawing = drawing?.kind === kind ? null : { kind, points: [] };
  selected = -1;
  update();
}

function finish(made) {
  drawing = null;
  if (made.points.length >= LEAST[made.kind]) {
    step();
    shapes.push({ kind: made.kind, name: freeName(made.kind), points: made.points });
    selected = shapes.length - 1;
  }
  update();
}

function addPoint(event) {
  const point = snapped(place(event));
  const [first] = drawing.points;
  const closes = drawing.points.length >= 3 && drawing.kind !== "line" && point[0] === first[0] && point[1] === first[1];
  if (closes) return finish(drawing);
  drawing.points.push(point);
  if (drawing.kind === "line" && drawing.points.length === 2) return finish(drawing);
  update();
}

function removePoint(place) {
  const shape = shapes[selected];
  if (shape.points.length <= LEAST[shape.kind]) return setText(byId("draw-hint"), t("draw.too_few"));
  step();
  shape.points.splice(place, 1);
  update();
  focusPoint(Math.min(place, shape.points.length - 1));
}

function removeShape() {
  if (selected < 0) return;
  step();
  shapes.splice(selected, 1);
  selected = -1;
  update();
  document.querySelector("[data-tool]").focus();
}

const focusPoint = (place) => canvas.querySelector(`.handle[data-point="${place}"]`)?.focus();

function movePoint(place, dx, dy) {
  step();
  const point = shapes[selected].points[place];
  [point[0], point[1]] = [round(point[0] + dx / size.width), round(point[1] + dy / size.height)];
  update();
  focusPoint(place);
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function onPointKey(event, place) {
  const arrow = ARROWS[event.key];
  if (arrow) {
    const by = event.shiftKey ? 10 : 1;
    movePoint(place, arrow[0] * by, arrow[1] * by);
  } else if (event.key === "Delete") {
    removePoint(place);
  } else if (event.key === "Escape") {
    select(-1);
    canvas.closest("section").querySelector(".draw-shapes button, [data-tool]").focus();
  } else {
    return;
  }
  event.preventDefault();
}

function drag(event, number) {
  event.preventDefault();
  event.stopPropagation();
  const point = shapes[selected].points[number];
  step();
  let moved = false;
  canvas.setPointerCapture(event.pointerId);
  const move = (at) => {
    moved = true;
    const to = at.altKey ? place(at) : snapped(place(at), point);
    [point[0], point[1]] = [round(to[0]), round(to[1])];
    update();
  };
  const end = () => {
    canvas.removeEventListener("pointermove", move);
    canvas.removeEventListener("pointerup", end);
    canvas.removeEventListener("pointercancel", end);
    if (!moved) past.pop();
    focusPoint(number);
    changed();
  };
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
}

function handle(point, number, kind) {
  const [x, y] = [point[0] * size.width, point[1] * size.height];
  const shape = shapes[selected];
  const label = kind === "middle" ? t("draw.more", { n: number + 1 }) : t("draw.point", { n: number + 1, name: shape.name, x: Math.round(point[0] * 100), y: Math.round(point[1] * 100) });
  const unit = size.width / (canvas.clientWidth || size.width);
  const node = svg("g", { class: `handle ${kind}`, role: "button", tabindex: "0", "aria-label": label, ...(kind === "corner" ? { "data-point": number } : {}) },
    svg("circle", { cx: x, cy: y, r: (kind === "corner" ? 14 : 12) * unit }), svg("circle", { cx: x, cy: y, r: (kind === "corner" ? 6 : 4) * unit }));
  const insert = () => {
    step();
    shape.points.splice(number + 1, 0, [round(point[0]), round(point[1])]);
    update();
  };
  if (kind === "corner") {
    node.addEventListener("pointerdown", (event) => drag(event, number));
    node.addEventListener("keydown", (event) => onPointKey(event, number));
    return node;
  }
  node.addEventListener("pointerdown", (event) => {
    insert();
    drag(event, number + 1);
  });
  node.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    insert();
    focusPoint(number + 1);
  });
  return node;
}

function shapeNode(shape, at) {
  const points = shape.points.map(([x, y]) => `${x * size.width},${y * size.height}`).join(" ");
  const node = svg(shape.kind === "line" ? "polyline" : "polygon", { points, class: "shape", "data-kind": shape.kind, "data-selected": at === selected });
  node.addEventListener("pointerdown", () => !drawing && select(at));
  const unit = size.width / (canvas.clientWidth || size.width);
  const [x, y] = shape.points[0];
  const text = svg("text", { class: "shape-name", x: x * size.width + 8 * unit, y: Math.max(y * size.height, 16 * unit), "font-size": 13 * unit });
  text.textContent = shape.name;
  return [node, text];
}

function render() {
  canvas.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
  const nodes = shapes.flatMap(shapeNode);
  if (drawing) {
    const points = [...drawing.points, ...(pointer ? [pointer] : [])];
    nodes.push(svg("polyline", { class: "shape", "data-kind": drawing.kind, points: points.map(([x, y]) => `${x * size.width},${y * size.height}`).join(" ") }));
  }
  const shape = shapes[selected];
  if (shape) {
    const ends = shape.kind === "line" ? shape.points.slice(0, -1) : shape.points;
    const middles = shape.kind === "line" ? [] : ends.map((point, place) => {
      const next = shape.points[(place + 1) % shape.points.length];
      return handle([(point[0] + next[0]) / 2, (point[1] + next[1]) / 2], place, "middle");
    });
    const corners = shape.points.map((point, place) => handle(point, place, "corner"));
    corners.forEach((corner, place) => nodes.push(corner, ...(middles[place] ? [middles[place]] : [])));
  }
  canvas.replaceChildren(...nodes);
}

function hint() {
  if (!drawing) return selected >= 0 ? t("draw.hint_selected") : t("draw.hint");
  return drawing.kind === "line" ? t("draw.hint_line") : t("draw.hint_area");
}

const pointsText = (shape) => shape.points.map(([x, y]) => `${x}, ${y}`).join("\n");

function update() {
  render();
  stage.dataset.drawing = drawing !== null;
  for (const tool of document.querySelectorAll("[data-tool]")) tool.setAttribute("aria-pressed", drawing?.kind === tool.dataset.tool);
  byId("undo").disabled = past.length === 0 && !drawing?.points.length;
  byId("redo").disabled = future.length === 0;
  setText(byId("draw-hint"), hint());
  const entries = shapes.map((shape, at) => {
    const made = element("button", { type: "button", class: "plain", "aria-pressed": String(at === selected) }, t(`draw.kind.${shape.kind}`, { name: shape.name }));
    made.addEventListener("click", () => select(at));
    return element("li", {}, made);
  });
  byId("shapes").replaceChildren(...entries);
  const shape = shapes[selected];
  byId("shape-form").hidden = !shape;
  if (shape) {
    byId("shape-name").value = shape.name;
    byId("shape-name").disabled = shape.kind === "mask";
    if (document.activeElement !== byId("shape-points")) byId("shape-points").value = pointsText(shape);
  }
  changed();
}

function select(at) {
  selected = at;
  drawing = null;
  update();
}

function rename() {
  const shape = shapes[selected];
  const name = byId("shape-name").value.trim();
  if (!shape || name === shape.name) return;
  if (name === "" || shapes.some((other) => other !== shape && other.kind === shape.kind && other.name === name)) {
    show(byId("shape-form").querySelector(".outcome"), t("draw.name_taken"), true);
    byId("shape-name").value = shape.name;
    return;
  }
  step();
  renamed(shape.kind, shape.name, name);
  shape.name = name;
  show(byId("shape-form").querySelector(".outcome"), "", false);
  update();
}

function readPoints() {
  const shape = shapes[selected];
  if (!shape) return;
  const text = byId("shape-points").value;
  const points = text.split("\n").filter((line) => line.trim()).map((line) => line.split(/[\s,;]+/).filter(Boolean).map(Number));
  const isGood = points.every((point) => point.length === 2 && point.every((value) => value >= 0 && value <= 1));
  const isEnough = shape.kind === "line" ? points.length === 2 : points.length >= 3;
  show(byId("shape-form").querySelector(".outcome"), isGood && isEnough ? "" : t("draw.points_wrong"), true);
  if (!isGood || !isEnough || text === pointsText(shape)) return;
  step();
  shape.points = points.map((point) => point.map(round));
  update();
}

canvas.addEventListener("pointerdown", (event) => {
  if (drawing && event.button === 0) addPoint(event);
  else if (event.target === canvas) select(-1);
});
canvas.addEventListener("pointermove", (event) => {
  if (!drawing) return;
  pointer = snapped(place(event));
  render();
});
canvas.addEventListener("pointerleave", () => {
  pointer = null;
  if (drawing) render();
});
canvas.addEventListener("dblclick", () => drawing && finish(drawing));
document.addEventListener("keydown", (event) => {
  if (event.target.closest?.("input, textarea, select") || byId("one").hidden) return;
  const isCommand = event.ctrlKey || event.metaKey;
  if (isCommand && event.key.toLowerCase() === "z") {
    event.preventDefault();
    if (event.shiftKey) redo();
    else undo();
  } else if (isCommand && event.key.toLowerCase() === "y") {
    event.preventDefault();
    redo();
  } else if (drawing && event.key === "Enter" && (event.target.closest?.("[data-tool]") || !event.target.closest?.("button"))) {
    event.preventDefault();
    finish(drawing);
  } else if (drawing && event.key === "Escape") {
    drawing = null;
    update();
  }
});
for (const tool of document.querySelectorAll("[data-tool]")) tool.addEventListener("click", (event) => begin(tool.dataset.tool, event.detail === 0));
byId("undo").addEventListener("click", undo);
byId("redo").addEventListener("click", redo);
byId("shape-name").addEventListener("change", rename);
byId("shape-points").addEventListener("change", readPoints);
byId("shape-remove").addEventListener("click", removeShape);
byId("shape-form").addEventListener("submit", (event) => event.preventDefault());
still.addEventListener("load", () => {
  size = { width: still.naturalWidth || 640, height: still.naturalHeight || 360 };
  stage.style.setProperty("aspect-ratio", `${size.width} / ${size.height}`);
  render();
});
new ResizeObserver(render).observe(stage);

keys({
  z: ["draw.zone", () => begin("zone", true)],
  l: ["draw.line", () => begin("line", true)],
  m: ["draw.mask", () => begin("mask", true)],
});

/** Shows the shapes of a camera; `onChange` is called with each change, `onRename` before a shape gets another name. */
export function showShapes(camera, settings, onChange, onRename) {
  shapes = [
    ...Object.entries(settings.zones ?? {}).map(([name, zone]) => ({ kind: "zone", name, points: zone.points })),
    ...Object.entries(settings.lines ?? {}).map(([name, line]) => ({ kind: "line", name, points: [line.from, line.to] })),
    ...(settings.motion?.masks ?? []).map((points, at) => ({ kind: "mask", name: `mask${at + 1}`, points })),
  ];
  shapes = structuredClone(shapes);
  [selected, drawing, past, future] = [-1, null, [], []];
  [changed, renamed] = [onChange, onRename];
  showStill(camera);
  update();
}

export function showStill(camera) {
  still.src = `/api/v1/cameras/${encodeURIComponent(camera)}/last.jpg?t=${Date.now()}`;
}

export const shapeNames = (kind) => shapes.filter((shape) => shape.kind === kind).map((shape) => shape.name);

/** Zones and lines as they are on the page; other keys of theirs are those of `settings`. */
export function shapesNow(settings) {
  const of = (kind, made) => Object.fromEntries(shapes.filter((shape) => shape.kind === kind).map((shape) => [shape.name, made(shape)]));
  return {
    zones: of("zone", ({ name, points }) => ({ ...settings.zones?.[name], points })),
    lines: of("line", ({ points: [from, to] }) => ({ from, to })),
  };
}

/** What differs from `settings`, as a merge patch of them. */
export function shapesPatch(settings) {
  const patch = {};
  const differs = (a, b) => JSON.stringify(a) !== JSON.stringify(b);
  const of = (kind) => Object.fromEntries(shapes.filter((shape) => shape.kind === kind).map((shape) => [shape.name, shape.points]));
  const compare = (section, now, before, made) => {
    for (const name of new Set([...Object.keys(now), ...Object.keys(before)])) {
      if (!now[name]) (patch[section] ??= {})[name] = null;
      else if (!before[name] || differs(made(now[name]), pick(before[name], made(now[name])))) (patch[section] ??= {})[name] = made(now[name]);
    }
  };
  const pick = (value, like) => Object.fromEntries(Object.keys(like).map((key) => [key, value[key]]));
  compare("zones", of("zone"), settings.zones ?? {}, (points) => ({ points }));
  compare("lines", of("line"), settings.lines ?? {}, ([from, to]) => ({ from, to }));
  const masks = shapes.filter((shape) => shape.kind === "mask").map((shape) => shape.points);
  if (differs(masks, settings.motion?.masks ?? [])) patch.motion = { masks: masks.length ? masks : null };
  return patch;
}
