// Executions: how far they are, what came of them, and once more.

import { byId, element, setText } from "./dom.js";
import { button, send, show } from "./form.js";
import { when } from "./format.js";
import { t } from "./texts.js";

const EVERY_MS = 2000;
const RESTING_MS = 15000;
const SHOWN = 20;
const mayAct = byId("try") !== null;
const rows = new Map();
let me = "";
let limit = SHOWN;
let timer = 0;
let asked = 0;
let isLost = false;
/** The row of which a button was pressed, until something else is: a button that acts is disabled, and loses the focus by that. */
let pressed = null;

const isOver = ({ state }) => ["finished", "failed", "cancelled"].includes(state);

function files(value) {
  if (Array.isArray(value)) return value.flatMap(files);
  return value?.file ? [value.file] : [];
}

/** Pictures as links, and all other values as text. */
async function showResult(row, id) {
  const execution = await send("GET", `/api/v1/executions/${id}`);
  const path = (name) => `/api/v1/executions/${id}/files/${encodeURIComponent(name)}`;
  const pictures = Object.entries(execution.outputs ?? {}).flatMap(([name, value]) => files(value).map((file) => ({ name, file })));
  const others = Object.entries(execution.outputs ?? {}).filter(([, value]) => !files(value).length);
  const links = pictures.slice(0, 12).map(({ name, file }) => element("a", { href: path(file) }, element("img", { src: path(file), alt: name, loading: "lazy" })));
  row.result.replaceChildren(
    ...(execution.warnings ?? []).map((warning) => element("p", { class: "failed" }, warning)),
    ...(links.length ? [element("div", { class: "pl-pictures" }, ...links)] : []),
    element("pre", { tabindex: 0 }, others.map(([name, value]) => `${name}: ${JSON.stringify(value)}`).join("\n")),
  );
}

function makeRow({ id }) {
  const row = { picture: element("img", { class: "pl-given", alt: "", loading: "lazy", width: 64, height: 48 }), state: element("span", { class: "state" }), what: element("span", { class: "what" }), acts: element("span", { class: "pl-buttons" }), result: element("div", { class: "pl-pictures" }), known: "" };
  row.root = element("li", {}, row.picture, row.state, row.what, row.acts, row.result);
  row.id = id;
  row.acts.addEventListener("click", () => (pressed = row), { capture: true });
  row.picture.addEventListener("error", () => (row.picture.hidden = true));
  return row;
}

function fill(row, execution) {
  const known = JSON.stringify(execution);
  if (row.known === known) return;
  row.known = known;
  const { id, pipeline, created, state, took_ms: took, failure, attempts, given, owner } = execution;
  setText(row.state, t(`pipelines.state.${state}`));
  row.state.classList.toggle("failed", state === "failed");
  const version = pipeline.version ? ` ${pipeline.version}` : "";
  // One that cannot be decoded cannot be shown either.
  row.picture.hidden = failure?.reason === "picture";
  if (!row.picture.hidden && !row.picture.src) row.picture.src = `/api/v1/executions/${id}/small.jpg`;
  const parts = [given, `${pipeline.name}${version}`, owner === me ? null : t("pipelines.by", { name: owner }), when(created.wall), took === undefined ? null : t("pipelines.took", { n: took }), attempts > 1 ? t("pipelines.attempts", { count: attempts }) : null, failure ? [failure.step, failure.message].filter(Boolean).join(": ") : null];
  setText(row.what, parts.filter(Boolean).join(" · "));
  fillActs(row, execution);
}

const hasFocus = (row, part = row.root) => part.contains(document.activeElement) || (pressed === row && document.activeElement === document.body);

function fillActs(row, { id, batch, state }) {
  const isDone = isOver({ state });
  // The same buttons stay.
  const known = JSON.stringify([state === "finished", isDone]);
  if (row.acts.dataset.known === known) return;
  row.acts.dataset.known = known;
  const act = (key, run, question) => button(t(`pipelines.${key}`), byId("execution-outcome"), run, question);
  const command = (what) => async () => {
    await send("POST", `/api/v1/executions/${what}`);
    await refreshExecutions();
  };
  const acts = [];
  if (state === "finished") acts.push(act("result", () => showResult(row, id)));
  if (mayAct && !isDone) acts.push(act("cancel", command(`${id}/cancel`)));
  if (mayAct && !isDone && batch) acts.push(act("cancel_batch", command(`batches/${batch}/cancel`)));
  if (mayAct && isDone) {
    acts.push(act("again", command(`${id}/repeat`)));
    acts.push(act("delete", async () => {
      await send("DELETE", `/api/v1/executions/${id}`);
      await refreshExecutions();
    }, t("pipelines.delete_question")));
  }
  const held = hasFocus(row, row.acts);
  row.acts.replaceChildren(...acts);
  if (held) acts[0]?.focus({ preventScroll: true });
}

/** Shows `executions` in their order. The focus stays, or goes on where its row is gone. */
function showRows(executions) {
  const held = [...rows.values()].find((row) => hasFocus(row));
  const place = held ? [...byId("executions").children].indexOf(held.root) : -1;
  for (const execution of executions) {
    if (!rows.has(execution.id)) rows.set(execution.id, makeRow(execution));
    fill(rows.get(execution.id), execution);
  }
  const known = new Set(executions.map(({ id }) => id));
  for (const id of rows.keys()) if (!known.has(id)) rows.delete(id);
  const roots = executions.map(({ id }) => rows.get(id).root);
  const list = byId("executions");
  if (roots.length === list.children.length && roots.every((root, at) => list.children[at] === root)) return;
  const focused = document.activeElement;
  list.replaceChildren(...roots);
  if (!held) return;
  if (held.root.contains(focused)) focused.focus({ preventScroll: true });
  else if (!held.root.isConnected) (roots[place] ?? roots.at(-1))?.querySelector("button")?.focus({ preventScroll: true });
}

export async function refreshExecutions() {
  clearTimeout(timer);
  if (document.hidden) return;
  const mine = ++asked;
  let rest = RESTING_MS;
  try {
    const [{ executions, next }, status] = await Promise.all([send("GET", `/api/v1/executions?limit=${limit}`), send("GET", "/api/v1/executions/status")]);
    if (mine !== asked) return;
    showRows(executions);
    byId("no-executions").hidden = executions.length > 0;
    byId("more").hidden = !next;
    const eta = status.eta_s && status.waiting ? ` ${t("pipelines.eta", { n: Math.ceil(status.eta_s) })}` : "";
    setText(byId("going"), status.waiting || status.running ? t("pipelines.going", { waiting: status.waiting, running: status.running }) + eta : "");
    if (status.waiting || status.running) rest = EVERY_MS;
    if (isLost) show(byId("execution-outcome"), "", false);
    isLost = false;
  } catch (error) {
    if (mine !== asked) return;
    isLost = true;
    show(byId("execution-outcome"), error.message, true);
  }
  timer = setTimeout(refreshExecutions, rest);
}

export function startExecutions() {
  byId("more").append(button(t("pipelines.more"), byId("execution-outcome"), async () => {
    limit = Math.min(limit + SHOWN, 500);
    await refreshExecutions();
  }));
  send("GET", "/api/v1/me").then(({ name }) => (me = name)).catch(() => null).finally(refreshExecutions);
  document.addEventListener("visibilitychange", refreshExecutions);
  for (const name of ["pointerdown", "keydown"]) document.addEventListener(name, () => (pressed = null), { capture: true });
}
