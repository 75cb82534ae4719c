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
const CHECKED_AGAIN_AFTER_MS = 5000;
export const mayChange = byId("try") !== null;

/** The pipeline that is shown, and all that is known of it. */
export const state = {
  blocks: new Map(),
  pipelines: [],
  models: [],
  webhooks: [],
  pipeline: null,
  /** As it was saved, which version that is, and which is the newest. */
  saved: null,
  version: 0,
  newest: 0,
  /** Counts the pipelines that were shown. */
  round: 0,
  chosen: null,
  errors: [],
  trial: null,
};
let past = [];
let future = [];
let checking = 0;
/** Counts what is opened: an answer that something else was done before is not shown. */
let opening = 0;

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
  form.commit();
  const before = copy(state.pipeline);
  act(state.pipeline);
  if (JSON.stringify(before) === JSON.stringify(state.pipeline)) return;
  stay();
  past.push(before);
  future = [];
  changed();
}

function undo(from, to) {
  form.commit();
  if (!from.length) return;
  stay();
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
  // One that is not even read is a mistake; no answer is none.
  const mistake = ({ code, message }) => (code === "bad_command" ? { errors: [{ field: "", reason: message, cure: "" }] } : null);
  const answer = await send("POST", "/api/v1/pipelines/check", state.pipeline).catch(mistake);
  if (asked !== JSON.stringify(state.pipeline)) return;
  if (!answer) {
    clearTimeout(checking);
    checking = setTimeout(check, CHECKED_AGAIN_AFTER_MS);
    return;
  }
  state.errors = answer.errors;
  drawResults();
}

export function choose(id, focus = false) {
  form.commit();
  // It may have another name since.
  if (id === null || stepOf(id)) state.chosen = id;
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
    const known = { model: state.models, webhook: state.webhooks };
    for (const { name, kind } of block.parameters) if (known[kind]?.length) step.parameters[name] = known[kind][0];
    state.chosen = id;
  });
}

/** Gives a step another name, wherever it is named. Gives the text of why not, or null. */
export function rename(step, id) {
  if (!/^[A-Za-z0-9][\w-]{0,63}$/.test(id)) return "pipelines.id_wrong";
  if (stepOf(id)) return "pipelines.id_taken";
  change((pipeline) => {
    const renamed = (reference) => (reference.startsWith(`$steps.${step.id}.`) ? reference.replace(`$steps.${step.id}.`, `$steps.${id}.`) : reference);
    for (const other of pipeline.steps) for (const [port, reference] of Object.entries(other.inputs)) other.inputs[port] = renamed(reference);
    for (const [name, reference] of Object.entries(pipeline.outputs ?? {})) pipeline.outputs[name] = renamed(reference);
    const places = pipeline.ui?.positions;
    if (places?.[step.id]) (places[id] = places[step.id]), delete places[step.id];
    stepOf(step.id).id = id;
    state.chosen = id;
  });
  return null;
}

export function removeStep(id) {
  const place = state.pipeline.steps.findIndex((step) => step.id === id);
  change((pipeline) => {
    const isOther = (reference) => !reference.startsWith(`$steps.${id}.`);
    const kept = (references) => Object.fromEntries(Object.entries(references ?? {}).filter(([, reference]) => isOther(reference)));
    pipeline.steps = pipeline.steps.filter((step) => step.id !== id);
    for (const step of pipeline.steps) step.inputs = kept(step.inputs);
    pipeline.outputs = kept(pipeline.outputs);
    delete pipeline.ui?.positions?.[id];
    state.chosen = null;
  });
  // What had the focus is gone: the next step has it, or what adds one.
  const next = state.pipeline.steps[place] ?? state.pipeline.steps[place - 1];
  (next ? graph.nodeOf(next.id) : byId("palette"))?.focus();
}

const graph = new Graph(byId("graph"));
const form = new Form(byId("form"), byId("form-title"));
const isSaved = () => JSON.stringify(state.pipeline) === JSON.stringify(state.saved);
/** Whether there is work that would be lost. */
const isDirty = () => mayChange && state.pipeline !== null && !isSaved() && (state.saved !== null || state.pipeline.steps.length > 0);
const mayLeave = () => !isDirty() || confirm(t("shell.lose_question"));

function draw() {
  graph.draw();
  form.draw();
  drawCommands();
  showChanges();
}

/** Shows what a check or a trial gave, and leaves alone what is being typed. */
function drawResults() {
  graph.draw();
  form.drawErrors();
  drawCommands();
}

function drawCommands() {
  for (const command of byId("commands").children) command.disabled = command.needs ? !command.needs() : false;
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

/** What is shown stays, whatever was to be opened; and the choices say which it is. */
function stay() {
  opening += 1;
  byId("pipeline").value = state.saved?.name ?? "";
  byId("pipeline-version").value = state.saved ? String(state.version) : "";
}

function display(pipeline, version, isNew = false) {
  opening += 1;
  form.clear();
  state.pipeline = complete(pipeline);
  state.saved = isNew ? null : copy(pipeline);
  Object.assign(state, { version, newest: version, round: state.round + 1, chosen: null, errors: [], trial: null });
  past = [];
  future = [];
  if (isNew) {
    byId("pipeline").value = "";
    byId("pipeline-version").replaceChildren();
  }
  changed();
}

function complete(pipeline) {
  for (const step of pipeline.steps) (step.inputs ??= {}), (step.parameters ??= {});
  pipeline.outputs ??= {};
  return pipeline;
}

/** A pipeline of a file: changes of the one with its name, or a new one; nothing is saved. */
async function openFile(file) {
  const mine = ++opening;
  const kind = file.name.endsWith(".json") ? "application/json" : "application/toml";
  const answer = await fetch("/api/v1/pipelines/check", { method: "POST", headers: { "content-type": kind }, body: file });
  const read = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(read.detail ?? t("error.status", { status: answer.status }));
  if (mine !== opening) return;
  if (!state.pipelines.some(({ name }) => name === read.pipeline.name)) return display(read.pipeline, 0, true);
  if (!(await open(read.pipeline.name))) return;
  change((pipeline) => {
    for (const key of Object.keys(pipeline)) delete pipeline[key];
    Object.assign(pipeline, complete(read.pipeline));
  });
}

/** Opens a pipeline. False where something else was done before it came. */
async function open(name, version) {
  const mine = ++opening;
  const query = version === undefined ? "" : `?version=${version}`;
  const found = await send("GET", `/api/v1/pipelines/${encodeURIComponent(name)}${query}`).catch((error) => {
    if (mine !== opening) return null;
    stay();
    throw error;
  });
  if (!found || mine !== opening) return false;
  showVersions(found.versions, found.version);
  byId("pipeline").value = name;
  for (const id of ["saved", "problem"]) show(byId(id), "", false);
  display(found.pipeline, found.version);
  state.newest = Math.max(found.version, ...found.versions);
  drawCommands();
  history.replaceState(null, "", `?${new URLSearchParams({ pipeline: name })}`);
  return true;
}

function showVersions(versions, chosen) {
  const all = versions.length ? versions : [chosen];
  byId("pipeline-version").replaceChildren(...all.toReversed().map((n) => element("option", { value: String(n), selected: n === chosen }, n ? String(n) : t("pipelines.built_in"))));
}

/** Asks which there are; the one that is shown stays chosen. */
async function list() {
  ({ pipelines: state.pipelines } = await send("GET", "/api/v1/pipelines"));
  byId("pipeline").replaceChildren(...state.pipelines.map(({ name, about }) => element("option", { value: name, title: about }, name)));
  byId("pipeline").value = state.saved?.name ?? "";
}

/** Opens `chosen` or the first; where that cannot be opened there is an empty one, and the others can be chosen. */
async function begin(chosen) {
  try {
    await list();
    await open((state.pipelines.find(({ name }) => name === chosen) ?? state.pipelines[0]).name);
  } catch (error) {
    display(blank(), 0, true);
    failed(error);
  }
}

const blank = () => ({ format: 1, name: freeName("pipeline"), inputs: { image: { kind: "image" } }, steps: [], outputs: {}, ui: {} });

function freeName(stem) {
  let name = stem;
  for (let n = 2; state.pipelines.some((known) => known.name === name); n += 1) name = `${stem}-${n}`;
  return name;
}

const versionsOf = (wanted) => state.pipelines.find(({ name }) => name === wanted)?.versions ?? [];

/** Saves what is shown as the newest version. What is changed meanwhile is a further change. */
async function save() {
  const { round, saved, newest } = state;
  const sent = copy(state.pipeline);
  const isNew = saved?.name !== sent.name;
  const other = isNew && state.pipelines.find(({ name }) => name === sent.name);
  if (other && other.versions.length) throw new Error(t("pipelines.name_taken", { name: sent.name }));
  // One whose file cannot be read is mended by another one with its name.
  const expected = other ? "" : `?expected_version=${isNew ? 0 : newest}`;
  const { version } = await send("POST", `/api/v1/pipelines${expected}`, sent).catch(async (error) => {
    if (error.code !== "changed_meanwhile") throw error;
    if (isNew) throw new Error(t("pipelines.name_taken", { name: sent.name }));
    await list();
    const versions = versionsOf(sent.name);
    if (state.round === round) state.newest = versions.at(-1) ?? 0;
    if (state.round === round) showVersions(versions, state.version);
    throw new Error(t("pipelines.changed_meanwhile", { name: sent.name, version: versions.at(-1) ?? 0 }));
  });
  if (state.round === round) Object.assign(state, { saved: sent, version, newest: version });
  await list().catch(failed);
  if (state.round !== round) return;
  showVersions([...new Set([...versionsOf(sent.name), version])], version);
  history.replaceState(null, "", `?${new URLSearchParams({ pipeline: sent.name })}`);
  draw();
  show(byId("saved"), t("pipelines.saved", { version }), false);
}

function commands() {
  let isSaving = false;
  const outcome = byId("saved");
  const add = (key, act, needs, question) => {
    const made = button(t(`pipelines.${key}`), outcome, act, question);
    made.needs = needs;
    byId("commands").append(made);
  };
  if (mayChange) {
    add("save", () => {
      isSaving = true;
      return save().finally(() => (isSaving = false));
    }, () => !isSaving && !state.errors.length && (!isSaved() || state.version < state.newest));
    add("undo", async () => undo(past, future), () => past.length > 0);
    add("redo", async () => undo(future, past), () => future.length > 0);
    add("new", async () => mayLeave() && display(blank(), 0, true));
    add("duplicate", async () => mayLeave() && display({ ...copy(state.pipeline), name: freeName(`${state.pipeline.name}-copy`) }, 0, true));
    const file = element("input", { type: "file", accept: ".toml,.json", hidden: true });
    file.addEventListener("change", async () => {
      const [chosen] = file.files;
      file.value = "";
      if (!chosen || !mayLeave()) return;
      show(outcome, "", false);
      await openFile(chosen).catch((error) => show(outcome, error.message, true));
    });
    byId("commands").after(file);
    add("import", async () => file.click());
  }
  add("export", async () => location.assign(`/api/v1/pipelines/${encodeURIComponent(state.saved.name)}?version=${state.version}&format=toml`), () => state.saved !== null);
  if (mayChange) {
    add("remove", async () => {
      await send("DELETE", `/api/v1/pipelines/${encodeURIComponent(state.saved.name)}`);
      await begin();
    }, () => state.saved !== null && state.version > 0, () => t("pipelines.remove_question", { name: state.saved.name }));
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
  const [{ blocks, webhooks }, { models }] = await Promise.all([send("GET", "/api/v1/blocks"), send("GET", "/api/v1/models")]);
  state.blocks = new Map(blocks.map((block) => [block.type, block]));
  state.models = models.map(({ name }) => name);
  state.webhooks = webhooks;
  palette();
  commands();
  const opens = (select, act) =>
    byId(select).addEventListener("change", ({ target }) => {
      if (mayLeave()) return act(target.value).catch(failed);
      stay();
    });
  opens("pipeline", (name) => open(name));
  opens("pipeline-version", (version) => open(state.saved.name, version));
  await begin(new URLSearchParams(location.search).get("pipeline"));
  if (mayChange) startTrial(drawResults);
  startExecutions();
  keys({ Enter: ["pipelines.key.open", null] });
  if (mayChange) followEdits();
}

/** Keys that change the pipeline, and the question before a change is lost. */
function followEdits() {
  keys({
    u: ["pipelines.key.undo", () => undo(past, future)],
    r: ["pipelines.key.redo", () => undo(future, past)],
    a: ["pipelines.key.add", () => byId("palette").focus()],
    "← → ↑ ↓": ["pipelines.key.move", null],
    Delete: ["pipelines.key.remove", null],
  });
  addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || event.target.closest?.("input, textarea, select")) return;
    event.preventDefault();
    if (event.shiftKey) undo(future, past);
    else undo(past, future);
  });
  addEventListener("beforeunload", (event) => {
    form.commit();
    if (isDirty()) event.preventDefault();
  });
}

const failed = (error) => show(byId("problem"), error.message, true);
start().catch(failed).finally(showFilled);
