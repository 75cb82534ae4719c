// Pipelines: chosen, drawn, changed, tried and saved.

import { byId, element, showFilled } from "./dom.js";
import { button, send, show } from "./form.js";
import { Graph } from "./pipelines-graph.js";
import { Form } from "./pipelines-form.js";
import { startExecutions } from "./pipelines-executions.js";
import { startTrial } from "./pipelines-trial.js";
import { keys } from "./keys.js";
import { t } from "./texts.js";

const CHECKED_AFTER_MS = 400;
const mayChange = byId("try") !== null;

/** The pipeline that is shown, and all that is known of it. */
export const state = {
  blocks: new Map(),
  pipelines: [],
  models: [],
  pipeline: null,
  /** As it was saved, and which version that is. */
  saved: null,
  version: 0,
  chosen: null,
  errors: [],
  trial: null,
};
let past = [];
let future = [];
let checking = 0;

const copy = (value) => JSON.parse(JSON.stringify(value));
const stepOf = (id) => state.pipeline.steps.find((step) => step.id === id);
const blockOf = (step) => state.blocks.get(step.type);

/** What a reference gives: its kind and whether it goes through a list; null where it leads nowhere. */
export function typeOf(reference, depth = 0) {
  const [from, name, output] = (reference ?? "").slice(1).split(".");
  if (from === "inputs") return state.pipeline.inputs?.[name] ? { kind: state.pipeline.inputs[name].kind, list: false } : null;
  const step = from === "steps" ? stepOf(name) : undefined;
  const found = step && blockOf(step)?.outputs.find((known) => known.name === output);
  if (!found || depth > 50) return null;
  const fed = blockOf(step).inputs.filter((port) => step.inputs[port.name]).map((port) => ({ port, type: typeOf(step.inputs[port.name], depth + 1) }));
  const list = found.list || fed.some(({ port, type }) => type?.list && !port.list);
  const same = fed.find(({ port }) => port.name === found.same_as)?.type?.kind;
  return { kind: found.kind ?? same ?? null, list };
}

/** Every reference that may be connected to `port` of `step`, without making a circle. */
export function sourcesFor(port, step) {
  const behind = new Set(step ? [step.id] : []);
  for (let grown = true; grown; ) {
    grown = false;
    for (const other of state.pipeline.steps) {
      if (behind.has(other.id)) continue;
      if (Object.values(other.inputs).some((reference) => behind.has(reference.split(".")[1]) && reference.startsWith("$steps."))) grown = Boolean(behind.add(other.id));
    }
  }
  const all = Object.keys(state.pipeline.inputs ?? {}).map((name) => `$inputs.${name}`);
  for (const other of state.pipeline.steps) {
    if (!behind.has(other.id)) all.push(...(blockOf(other)?.outputs ?? []).map((output) => `$steps.${other.id}.${output.name}`));
  }
  return all.filter((reference) => !port || port.kinds.includes(typeOf(reference)?.kind));
}

/** Changes the pipeline, so that it can be undone. */
export function change(act) {
  if (!mayChange) return;
  past.push(copy(state.pipeline));
  future = [];
  act(state.pipeline);
  changed();
}

function undo(from, to) {
  if (!from.length) return;
  to.push(copy(state.pipeline));
  state.pipeline = from.pop();
  changed();
}

function changed() {
  if (state.chosen && !stepOf(state.chosen)) state.chosen = null;
  draw();
  clearTimeout(checking);
  checking = setTimeout(check, CHECKED_AFTER_MS);
}

async function check() {
  if (!mayChange) return;
  const asked = JSON.stringify(state.pipeline);
  const { errors } = await send("POST", "/api/v1/pipelines/check", state.pipeline).catch((error) => ({ errors: [{ field: "", reason: error.message, cure: "" }] }));
  if (asked !== JSON.stringify(state.pipeline)) return;
  state.errors = errors;
  draw();
}

export function choose(id, focus = false) {
  state.chosen = id;
  draw();
  if (focus) byId("form-title").focus();
}

/** Adds a step of the block `type`, fed by what fits. */
function addStep(type) {
  const block = state.blocks.get(type);
  const stem = type.split("@")[0];
  let id = stem;
  for (let n = 2; stepOf(id); n += 1) id = `${stem}-${n}`;
  change((pipeline) => {
    const step = { id, type, inputs: {}, parameters: {} };
    pipeline.steps.push(step);
    for (const port of block.inputs.filter((known) => known.required)) {
      const sources = sourcesFor(port, step);
      const source = sources.findLast((reference) => typeOf(reference).list === port.list) ?? sources.at(-1);
      if (source) step.inputs[port.name] = source;
    }
    for (const parameter of block.parameters) if (parameter.kind === "model" && state.models.length) step.parameters[parameter.name] = state.models[0];
    state.chosen = id;
  });
}

/** Gives a step another name, wherever it is named. */
export function rename(step, id) {
  if (!/^[A-Za-z0-9][\w-]{0,63}$/.test(id) || stepOf(id)) return false;
  change((pipeline) => {
    const renamed = (reference) => (reference.startsWith(`$steps.${step.id}.`) ? reference.replace(`$steps.${step.id}.`, `$steps.${id}.`) : reference);
    for (const other of pipeline.steps) for (const [port, reference] of Object.entries(other.inputs)) other.inputs[port] = renamed(reference);
    for (const [name, reference] of Object.entries(pipeline.outputs ?? {})) pipeline.outputs[name] = renamed(reference);
    const places = pipeline.ui?.positions;
    if (places?.[step.id]) (places[id] = places[step.id]), delete places[step.id];
    stepOf(step.id).id = id;
    state.chosen = id;
  });
  return true;
}

export function removeStep(id) {
  change((pipeline) => {
    const isOther = (reference) => !reference.startsWith(`$steps.${id}.`);
    const kept = (references) => Object.fromEntries(Object.entries(references ?? {}).filter(([, reference]) => isOther(reference)));
    pipeline.steps = pipeline.steps.filter((step) => step.id !== id);
    for (const step of pipeline.steps) step.inputs = kept(step.inputs);
    pipeline.outputs = kept(pipeline.outputs);
    delete pipeline.ui?.positions?.[id];
    state.chosen = null;
  });
}

const graph = new Graph(byId("graph"));
const form = new Form(byId("form"), byId("form-title"));
const isSaved = () => JSON.stringify(state.pipeline) === JSON.stringify(state.saved);

function draw() {
  graph.draw();
  form.draw();
  for (const command of byId("commands").children) command.disabled = command.needs ? !command.needs() : false;
  showChanges();
}

/** What differs from the version that was opened. */
function showChanges() {
  const lines = [];
  const before = new Map((state.saved?.steps ?? []).map((step) => [step.id, step]));
  for (const step of state.pipeline.steps) {
    const known = before.get(step.id);
    before.delete(step.id);
    if (!known) lines.push(`+ ${step.id} (${step.type})`);
    else if (JSON.stringify(known) !== JSON.stringify(step)) lines.push(`~ ${step.id}: ${differences(known, step).join(", ")}`);
  }
  for (const id of before.keys()) lines.push(`− ${id}`);
  for (const part of ["name", "about", "parameters", "outputs"]) if (JSON.stringify(state.saved?.[part] ?? {}) !== JSON.stringify(state.pipeline[part] ?? {})) lines.push(`~ ${part}`);
  const list = byId("changes");
  list.replaceChildren(...lines.map((line) => element("li", {}, line)));
  list.hidden = !lines.length || !state.saved;
}

function differences(before, after) {
  const parts = ["inputs", "parameters"].flatMap((part) => {
    const names = new Set([...Object.keys(before[part] ?? {}), ...Object.keys(after[part] ?? {})]);
    return [...names].filter((name) => JSON.stringify(before[part]?.[name]) !== JSON.stringify(after[part]?.[name])).map((name) => `${name} ${JSON.stringify(before[part]?.[name]) ?? "–"} → ${JSON.stringify(after[part]?.[name]) ?? "–"}`);
  });
  return before.type === after.type ? parts : [`${before.type} → ${after.type}`, ...parts];
}

function display(pipeline, version, isNew = false) {
  for (const step of pipeline.steps) (step.inputs ??= {}), (step.parameters ??= {});
  pipeline.outputs ??= {};
  state.pipeline = pipeline;
  state.saved = isNew ? null : copy(pipeline);
  Object.assign(state, { version, chosen: null, errors: [], trial: null });
  past = [];
  future = [];
  changed();
}

async function open(name, version) {
  const query = version === undefined ? "" : `?version=${version}`;
  const found = await send("GET", `/api/v1/pipelines/${encodeURIComponent(name)}${query}`);
  const versions = found.versions.length ? found.versions : [found.version];
  byId("pipeline-version").replaceChildren(...versions.toReversed().map((n) => element("option", { value: String(n), selected: n === found.version }, n ? String(n) : t("pipelines.built_in"))));
  byId("pipeline").value = name;
  display(found.pipeline, found.version);
  history.replaceState(null, "", `?${new URLSearchParams({ pipeline: name })}`);
}

async function list(chosen) {
  ({ pipelines: state.pipelines } = await send("GET", "/api/v1/pipelines"));
  byId("pipeline").replaceChildren(...state.pipelines.map(({ name, about }) => element("option", { value: name, title: about }, name)));
  const known = state.pipelines.some(({ name }) => name === chosen) ? chosen : state.pipelines[0]?.name;
  if (known) await open(known);
}

function freeName(stem) {
  let name = stem;
  for (let n = 2; state.pipelines.some((known) => known.name === name); n += 1) name = `${stem}-${n}`;
  return name;
}

function commands() {
  const outcome = byId("saved");
  const add = (key, act, needs, question) => {
    const made = button(t(`pipelines.${key}`), outcome, act, question);
    made.needs = needs;
    byId("commands").append(made);
  };
  if (mayChange) {
    add("save", async () => {
      const expected = state.saved?.name === state.pipeline.name ? `?expected_version=${state.version}` : "";
      const saved = await send("POST", `/api/v1/pipelines${expected}`, state.pipeline);
      await list(saved.name);
      show(outcome, t("pipelines.saved", { version: saved.version }), false);
    }, () => !state.errors.length && !isSaved());
    add("undo", async () => undo(past, future), () => past.length > 0);
    add("redo", async () => undo(future, past), () => future.length > 0);
    add("new", async () => display({ format: 1, name: freeName("pipeline"), inputs: { image: { kind: "image" } }, steps: [], outputs: {}, ui: {} }, 0, true));
    add("duplicate", async () => display({ ...copy(state.pipeline), name: freeName(`${state.pipeline.name}-copy`) }, 0, true));
    const file = element("input", { type: "file", accept: ".toml,.json", hidden: true });
    file.addEventListener("change", async () => {
      const [chosen] = file.files;
      file.value = "";
      if (!chosen) return;
      const answer = await fetch("/api/v1/pipelines", { method: "POST", headers: { "content-type": chosen.name.endsWith(".json") ? "application/json" : "application/toml" }, body: chosen });
      const saved = await answer.json().catch(() => ({}));
      if (!answer.ok) return show(outcome, saved.detail ?? t("error.status", { status: answer.status }), true);
      await list(saved.name);
      show(outcome, t("pipelines.saved", { version: saved.version }), false);
    });
    byId("commands").after(file);
    add("import", async () => file.click());
  }
  add("export", async () => location.assign(`/api/v1/pipelines/${encodeURIComponent(state.saved.name)}?version=${state.version}&format=toml`), () => state.saved !== null);
  if (mayChange) {
    add("remove", async () => {
      await send("DELETE", `/api/v1/pipelines/${encodeURIComponent(state.saved.name)}`);
      await list();
    }, () => state.saved !== null && state.version > 0, t("pipelines.remove_question"));
  }
}

function palette() {
  const select = byId("palette");
  if (!select) return;
  const groups = new Map();
  for (const block of state.blocks.values()) groups.set(block.group, [...(groups.get(block.group) ?? []), block]);
  const options = [...groups].map(([group, blocks]) =>
    element("optgroup", { label: t(`pipelines.group.${group}`) }, ...blocks.map((block) => element("option", { value: block.type, title: block.about }, block.type.split("@")[0]))),
  );
  select.replaceChildren(element("option", { value: "" }, t("pipelines.add")), ...options);
  select.addEventListener("change", () => {
    if (select.value) addStep(select.value);
    select.value = "";
  });
}

async function start() {
  const [{ blocks }, { models }] = await Promise.all([send("GET", "/api/v1/blocks"), send("GET", "/api/v1/models")]);
  state.blocks = new Map(blocks.map((block) => [block.type, block]));
  state.models = models.map(({ name }) => name);
  palette();
  commands();
  byId("pipeline").addEventListener("change", ({ target }) => open(target.value).catch(failed));
  byId("pipeline-version").addEventListener("change", ({ target }) => open(byId("pipeline").value, target.value).catch(failed));
  await list(new URLSearchParams(location.search).get("pipeline"));
  if (mayChange) startTrial(draw);
  startExecutions();
  keys({
    u: ["pipelines.key.undo", () => undo(past, future)],
    r: ["pipelines.key.redo", () => undo(future, past)],
    a: ["pipelines.key.add", () => byId("palette")?.focus()],
  });
  addEventListener("beforeunload", (event) => !isSaved() && state.saved && event.preventDefault());
}

const failed = (error) => show(byId("problem"), error.message, true);
start().catch(failed).finally(showFilled);
