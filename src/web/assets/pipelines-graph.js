// The graph: steps as nodes that are moved, connected and chosen by pointer and keyboard.

import { change, choose, removeStep, state, typeOf } from "./pipelines.js";
import { t } from "./texts.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 170;
const HEAD = 46;
const ROW = 22;
const PICTURE = 96;
const GRID = 10;

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
    root.addEventListener("pointerdown", (event) => this.begin(event));
    root.addEventListener("pointermove", (event) => this.move(event));
    root.addEventListener("pointerup", (event) => this.end(event));
    root.addEventListener("pointercancel", () => (this.drag = null));
    root.addEventListener("keydown", (event) => this.key(event));
    root.addEventListener("focusin", ({ target }) => target.dataset.step && target.dataset.step !== state.chosen && choose(target.dataset.step));
  }

  /** Where a step is drawn; those without a place are put behind what feeds them. */
  place(step, at = 0) {
    const known = state.pipeline.ui?.positions?.[step.id];
    return known ?? [220 + at * 200, 40 + (at % 2) * 110];
  }

  draw() {
    const held = this.root.contains(document.activeElement) ? document.activeElement.dataset.step : undefined;
    const { pipeline } = state;
    const nodes = [];
    this.ports = new Map();
    const inputs = Object.keys(pipeline.inputs ?? {});
    nodes.push(this.node(null, t("pipelines.inputs"), "", [20, 40], [], inputs.map((name) => [name, `$inputs.${name}`])));
    let [right, bottom] = [0, 0];
    pipeline.steps.forEach((step, at) => {
      const block = state.blocks.get(step.type);
      const place = this.place(step, at);
      nodes.push(this.node(step, step.id, step.type, place, block?.inputs ?? [], (block?.outputs ?? []).map((output) => [output.name, `$steps.${step.id}.${output.name}`])));
      right = Math.max(right, place[0] + WIDTH);
      bottom = Math.max(bottom, place[1] + this.height);
    });
    const names = Object.keys(pipeline.outputs ?? {});
    nodes.push(this.node(undefined, t("pipelines.outputs"), "", [Math.max(right + 40, 250), 40], names.map((name) => ({ name, output: true })), []));
    const [width, height] = [Math.max(right + 40, 250) + WIDTH + 20, Math.max(bottom + 40, 380)];
    this.root.setAttribute("width", width);
    this.root.setAttribute("height", height);
    this.root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.root.replaceChildren(...this.edges(), ...nodes);
    if (held) this.root.querySelector(`[data-step="${CSS.escape(held)}"]`)?.focus();
  }

  node(step, title, type, [x, y], inputs, outputs) {
    const ran = step && state.trial?.steps.find((known) => known.step === step.id);
    const failure = step && state.trial?.failure?.step === step.id ? state.trial.failure.message : undefined;
    const errors = step ? state.errors.filter((error) => error.step === step.id) : [];
    const rows = Math.max(inputs.length, outputs.length);
    const picture = ran && Object.values(ran.gave).map(pictureOf).find(Boolean);
    const notes = [...errors.map((error) => `${error.field}: ${error.reason}`), ...(failure ? [failure] : [])];
    const facts = ran ? Object.entries(ran.gave).map(([name, value]) => `${name}: ${summary(value)}`) : [];
    const height = HEAD + rows * ROW + (picture ? PICTURE + 8 : 0) + (facts.length + notes.length) * 16 + (facts.length || notes.length ? 8 : 0);
    const node = svg("g", { class: `pl-node${step && step.id === state.chosen ? " chosen" : ""}${notes.length ? " wrong" : ""}`, transform: `translate(${x} ${y})` });
    node.append(svg("rect", { width: WIDTH, height, rx: 10 }), this.text(12, 20, short(title, 20)), this.text(12, 37, [type, ran ? t("pipelines.ms", { n: ran.took_ms, count: ran.runs }) : ""].filter(Boolean).join(" · "), "small"));
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
      if (reference) this.ports.set(key, { x, y: y + top(at), reference });
    });
    outputs.forEach(([name, reference], at) => {
      const label = this.text(WIDTH - 12, top(at) + 4, short(name, 12), "small");
      label.setAttribute("text-anchor", "end");
      node.append(this.port(WIDTH, top(at), { from: reference }), label);
      this.ports.set(reference, { x: x + WIDTH, y: y + top(at) });
    });
    let below = HEAD + rows * ROW + 10;
    if (picture) {
      node.append(svg("image", { href: `data:image/jpeg;base64,${picture.jpeg}`, x: 10, y: below - 6, width: WIDTH - 20, height: PICTURE }));
      below += PICTURE + 6;
    }
    for (const [lines, kind] of [[facts, "small"], [notes, "bad"]]) for (const line of lines) node.append(this.text(12, (below += 16) - 8, short(line, 28), kind));
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

  edges() {
    const edges = [];
    for (const [key, { x, y, reference }] of this.ports) {
      const from = reference && this.ports.get(reference);
      if (from) edges.push(svg("path", { class: `pl-edge${typeOf(reference)?.list ? " list" : ""}`, d: this.curve(from.x, from.y, x, y), "data-edge": key }));
    }
    return edges;
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
    if (what?.from || what?.reference) {
      // A connected input gives its connection away.
      this.drag = { from: what.from ?? what.reference, taken: what.from ? null : what, line: this.root.insertBefore(svg("path", { class: "pl-edge" }), null) };
      for (const port of this.root.querySelectorAll(".pl-port")) port.classList.toggle("fits", this.fits(port.what));
    } else if (step) {
      const known = state.pipeline.steps.findIndex(({ id }) => id === step);
      const place = this.place(state.pipeline.steps[known], known);
      this.drag = { step, dx: place[0] - x, dy: place[1] - y, moved: false };
      choose(step);
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
    this.root.querySelector(`[data-step="${CSS.escape(this.drag.step)}"]`).setAttribute("transform", `translate(${place[0]} ${place[1]})`);
  }

  end(event) {
    const { drag } = this;
    this.drag = null;
    if (!drag) return;
    if (drag.step) {
      if (drag.moved) this.put(drag.step, drag.place);
      else this.root.querySelector(`[data-step="${CSS.escape(drag.step)}"]`)?.focus();
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
    const at = state.pipeline.steps.findIndex((step) => step.id === id);
    if (steps) this.put(id, this.place(state.pipeline.steps[at], at).map((side, axis) => Math.max(0, side + steps[axis] * 2 * GRID)));
    else if (event.key === "Delete" || event.key === "Backspace") removeStep(id);
    else if (event.key === "Enter" || event.key === " ") choose(id, true);
    else return;
    event.preventDefault();
  }
}
