// The graph: steps as nodes that are moved, connected and chosen by pointer and keyboard.

import { change, choose, mayChange, removeStep, state, typeOf } from "./pipelines.js";
import { t } from "./texts.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 170;
const HEAD = 46;
const ROW = 22;
const PICTURE = 96;
const GRID = 10;
const GAP = 20;

function svg(tag, props = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(props)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** The first picture of what a step gave. */
function pictureOf(value) {
  if (Array.isArray(value)) return value.map(pictureOf).find(Boolean);
  return value?.jpeg ? value : undefined;
}

function summary(value) {
  if (value === null) return "–";
  if (Array.isArray(value)) return value.every((item) => item?.label) ? value.map((item) => item.label).join(", ") || "0" : `[${value.length}]`;
  if (value?.jpeg !== undefined) return `${value.width} × ${value.height}`;
  if (value?.rows) return `${value.rows.length} × ${value.columns.length}`;
  return typeof value === "number" ? String(Math.round(value * 1000) / 1000) : String(value);
}

const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

export class Graph {
  constructor(root) {
    this.root = root;
    root.classList.toggle("fixed", !mayChange);
    root.addEventListener("pointerdown", (event) => this.begin(event));
    root.addEventListener("pointermove", (event) => this.move(event));
    root.addEventListener("pointerup", (event) => this.end(event));
    root.addEventListener("pointercancel", () => (this.drag = null));
    root.addEventListener("keydown", (event) => this.key(event));
    root.addEventListener("focusin", ({ target }) => target.dataset.step && target.dataset.step !== state.chosen && choose(target.dataset.step));
  }

  /** Where steps are drawn: where they were put; others in columns, each behind what feeds it. What has grown moves others down. */
  layout(steps) {
    const depths = new Map();
    const depth = (id) => {
      if (depths.has(id)) return depths.get(id);
      // A circle ends here.
      depths.set(id, 0);
      const { inputs } = state.pipeline.steps.find((step) => step.id === id) ?? { inputs: {} };
      const fed = Object.values(inputs).map((reference) => reference.split(".")).filter(([from]) => from === "$steps").map(([, name]) => depth(name) + 1);
      depths.set(id, Math.max(0, ...fed));
      return depths.get(id);
    };
    const below = new Map();
    const placed = steps.map(({ step, height }) => {
      const known = state.pipeline.ui?.positions?.[step.id];
      if (known) return { id: step.id, x: known[0], y: known[1], height };
      const column = depth(step.id);
      const y = below.get(column) ?? 40;
      below.set(column, y + height + GAP);
      return { id: step.id, x: 20 + (column + 1) * (WIDTH + 2 * GAP), y, height };
    });
    const inOrder = placed.toSorted((a, b) => a.y - b.y);
    inOrder.forEach((one, at) => {
      for (const above of inOrder.slice(0, at)) if (Math.abs(above.x - one.x) < WIDTH && one.y < above.y + above.height + GAP / 2) one.y = above.y + above.height + GAP / 2;
    });
    return new Map(placed.map(({ id, x, y }) => [id, [x, y]]));
  }

  draw() {
    const held = this.root.contains(document.activeElement) ? document.activeElement.dataset.step : undefined;
    const { pipeline } = state;
    const make = (step, ...rest) => {
      this.ports = new Map();
      const node = this.node(step, ...rest);
      return { step, node, height: this.height, ports: this.ports };
    };
    const inputs = Object.keys(pipeline.inputs ?? {});
    const first = make(null, t("pipelines.inputs"), "", [], inputs.map((name) => [name, `$inputs.${name}`]));
    const steps = pipeline.steps.map((step) => {
      const block = state.blocks.get(step.type);
      return make(step, step.id, step.type, block?.inputs ?? [], (block?.outputs ?? []).map((output) => [output.name, `$steps.${step.id}.${output.name}`]));
    });
    const names = Object.keys(pipeline.outputs ?? {});
    const last = make(undefined, t("pipelines.outputs"), "", names.map((name) => ({ name, output: true })), []);
    this.places = this.layout(steps);
    const right = Math.max(250, ...steps.map(({ step }) => this.places.get(step.id)[0] + WIDTH + 40));
    const bottom = Math.max(380, ...steps.map(({ step, height }) => this.places.get(step.id)[1] + height + 40));
    this.ports = new Map();
    for (const { step, node, ports } of [first, ...steps, last]) {
      const [x, y] = step ? this.places.get(step.id) : [step === null ? 20 : right, 40];
      node.setAttribute("transform", `translate(${x} ${y})`);
      for (const [key, port] of ports) this.ports.set(key, { ...port, x: port.x + x, y: port.y + y });
    }
    const [width, height] = [right + WIDTH + 20, bottom];
    this.root.setAttribute("width", width);
    this.root.setAttribute("height", height);
    this.root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const boxes = steps.map(({ step, height: tall }) => ({ x: this.places.get(step.id)[0], y: this.places.get(step.id)[1], height: tall }));
    this.root.replaceChildren(...this.edges(boxes), ...[first, ...steps, last].map(({ node }) => node));
    if (held) this.nodeOf(held)?.focus();
    if (this.shown !== state.chosen) this.show(state.chosen);
  }

  /** The node of a step. */
  nodeOf(id) {
    return this.root.querySelector(`[data-step="${CSS.escape(id)}"]`);
  }

  /** Brings a step into view. */
  show(id) {
    this.shown = id;
    const [frame, place] = [this.root.parentElement, this.places.get(id)];
    if (!place || !frame) return;
    if (place[0] + WIDTH > frame.scrollLeft + frame.clientWidth || place[0] < frame.scrollLeft) frame.scrollLeft = place[0] - 2 * GAP;
    if (place[1] < frame.scrollTop) frame.scrollTop = place[1] - 2 * GAP;
  }

  node(step, title, type, inputs, outputs) {
    const ran = step && state.trial?.steps.find((known) => known.step === step.id);
    const failure = step && state.trial?.failure?.step === step.id ? state.trial.failure.message : undefined;
    const errors = step ? state.errors.filter((error) => error.step === step.id) : [];
    const rows = Math.max(inputs.length, outputs.length);
    const picture = ran && Object.values(ran.gave).map(pictureOf).find(Boolean);
    const notes = [...errors.map((error) => `${error.field}: ${error.reason}`), ...(failure ? [failure] : [])];
    const facts = ran ? [t("pipelines.ms", { n: ran.took_ms, count: ran.runs }), ...Object.entries(ran.gave).map(([name, value]) => `${name}: ${summary(value)}`)] : [];
    const height = HEAD + rows * ROW + (picture ? PICTURE + 8 : 0) + (facts.length + notes.length) * 16 + (facts.length || notes.length ? 8 : 0);
    const node = svg("g", { class: `pl-node${step && step.id === state.chosen ? " chosen" : ""}${notes.length ? " wrong" : ""}` });
    node.append(svg("rect", { width: WIDTH, height, rx: 10 }), this.text(12, 20, short(title, 20)), this.text(12, 37, short(type, 26), "small"));
    if (step) {
      node.setAttribute("tabindex", 0);
      node.setAttribute("role", "group");
      node.setAttribute("aria-label", [t("pipelines.step_label", { id: step.id, type }), ...notes, ...facts].join(". "));
      node.dataset.step = step.id;
    }
    const top = (at) => HEAD + at * ROW + 4;
    inputs.forEach((port, at) => {
      const reference = port.output ? state.pipeline.outputs[port.name] : step.inputs[port.name];
      node.append(this.port(0, top(at), { to: port, step, reference }), this.text(12, top(at) + 4, short(port.name, 12), "small"));
      const key = `${step ? step.id : ""}>${port.name}`;
      if (reference) this.ports.set(key, { x: 0, y: top(at), reference });
    });
    outputs.forEach(([name, reference], at) => {
      const label = this.text(WIDTH - 12, top(at) + 4, short(name, 12), "small");
      label.setAttribute("text-anchor", "end");
      node.append(this.port(WIDTH, top(at), { from: reference }), label);
      this.ports.set(reference, { x: WIDTH, y: top(at) });
    });
    let below = HEAD + rows * ROW + 10;
    if (picture) {
      node.append(svg("image", { href: `data:image/jpeg;base64,${picture.jpeg}`, x: 10, y: below - 6, width: WIDTH - 20, height: PICTURE }));
      below += PICTURE + 6;
    }
    for (const [lines, kind] of [[facts, "small"], [notes, "bad"]]) for (const line of lines) node.append(this.text(12, (below += 16) - 8, short(line, 25), kind));
    this.height = height;
    return node;
  }

  text(x, y, content, kind = "") {
    return svg("text", { x, y, class: kind }, content);
  }

  port(x, y, what) {
    const port = svg("circle", { cx: x, cy: y, r: 6, class: "pl-port" });
    port.what = what;
    return port;
  }

  edges(boxes) {
    const edges = [];
    let over = 0;
    for (const [key, { x, y, reference }] of this.ports) {
      const from = reference && this.ports.get(reference);
      if (!from) continue;
      // Past the nodes between its ends it goes above them.
      const between = boxes.filter((box) => box.x > from.x && box.x + WIDTH < x && box.y < Math.max(from.y, y) && box.y + box.height > Math.min(from.y, y));
      const d = between.length ? this.arch(from.x, from.y, x, y, Math.max(4, Math.min(...between.map((box) => box.y)) - 10 - 6 * over++)) : this.curve(from.x, from.y, x, y);
      edges.push(svg("path", { class: `pl-edge${typeOf(reference)?.list ? " list" : ""}`, d, "data-edge": key }));
    }
    return edges;
  }

  arch(x0, y0, x1, y1, top) {
    return `M${x0} ${y0}C${x0 + GAP} ${y0} ${x0} ${top} ${x0 + 2 * GAP} ${top}L${x1 - 2 * GAP} ${top}C${x1} ${top} ${x1 - GAP} ${y1} ${x1} ${y1}`;
  }

  curve(x0, y0, x1, y1) {
    const bend = Math.max(40, Math.abs(x1 - x0) / 2);
    return `M${x0} ${y0}C${x0 + bend} ${y0} ${x1 - bend} ${y1} ${x1} ${y1}`;
  }

  at({ clientX, clientY }) {
    const { left, top } = this.root.getBoundingClientRect();
    return [clientX - left, clientY - top];
  }

  begin(event) {
    const [x, y] = this.at(event);
    const what = event.target.what;
    const step = event.target.closest?.("[data-step]")?.dataset.step;
    if (!mayChange) {
      if (step) choose(step);
      return;
    }
    if (what?.from || what?.reference) {
      // A connected input gives its connection away.
      this.drag = { from: what.from ?? what.reference, taken: what.from ? null : what, line: this.root.insertBefore(svg("path", { class: "pl-edge" }), null) };
      for (const port of this.root.querySelectorAll(".pl-port")) port.classList.toggle("fits", this.fits(port.what));
    } else if (step) {
      choose(step);
      const place = this.places.get(state.chosen);
      this.drag = { step: state.chosen, dx: place[0] - x, dy: place[1] - y, moved: false };
    } else return;
    this.root.setPointerCapture(event.pointerId);
    event.preventDefault();
  }

  fits(what) {
    const kind = typeOf(this.drag.from)?.kind;
    return Boolean(what?.to) && (what.to.output || what.to.kinds.includes(kind)) && !(what.step && this.drag.from.startsWith(`$steps.${what.step.id}.`));
  }

  move(event) {
    if (!this.drag) return;
    const [x, y] = this.at(event);
    if (this.drag.line) {
      const from = this.ports.get(this.drag.from);
      this.drag.line.setAttribute("d", this.curve(from.x, from.y, x, y));
      return;
    }
    const place = [x + this.drag.dx, y + this.drag.dy].map((side) => Math.max(0, Math.round(side / GRID) * GRID));
    this.drag.place = place;
    this.drag.moved = true;
    this.nodeOf(this.drag.step).setAttribute("transform", `translate(${place[0]} ${place[1]})`);
  }

  end(event) {
    const { drag } = this;
    this.drag = null;
    if (!drag) return;
    if (drag.step) {
      if (drag.moved) this.put(drag.step, drag.place);
      else this.nodeOf(drag.step)?.focus();
      return;
    }
    this.drag = drag;
    const target = document.elementsFromPoint(event.clientX, event.clientY).find((node) => node.what?.to)?.what;
    const fits = target && this.fits(target);
    this.drag = null;
    if (!fits && !drag.taken) return this.draw();
    change((pipeline) => {
      const connect = ({ to, step }, reference) => {
        const of = to.output ? pipeline.outputs : pipeline.steps.find(({ id }) => id === step.id).inputs;
        if (reference) of[to.name] = reference;
        else delete of[to.name];
      };
      if (drag.taken && drag.taken !== target) connect(drag.taken, null);
      if (fits) connect(target, drag.from);
    });
  }

  put(id, place) {
    change((pipeline) => {
      pipeline.ui ??= {};
      pipeline.ui.positions ??= {};
      pipeline.ui.positions[id] = place;
    });
  }

  key(event) {
    const id = event.target.dataset?.step;
    if (!id) return;
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!mayChange && event.key !== "Enter" && event.key !== " ") return;
    if (steps) this.put(id, this.places.get(id).map((side, axis) => Math.max(0, side + steps[axis] * 2 * GRID)));
    else if (event.key === "Delete" || event.key === "Backspace") removeStep(id);
    else if (event.key === "Enter" || event.key === " ") choose(id, true);
    else return;
    event.preventDefault();
  }
}
