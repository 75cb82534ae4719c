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
  row.picture.addEventListener("error", () => (row.picture.hidden = true));
  return row;
}

function fill(row, execution) {
  const known = JSON.stringify(execution);
  if (row.known === known) return;
  row.known = known;
  const { id, batch, pipeline, created, state, took_ms: took, failure, attempts, given, owner } = execution;
  setText(row.state, t(`pipelines.state.${state}`));
  row.state.classList.toggle("failed", state === "failed");
  const version = pipeline.version ? ` ${pipeline.version}` : "";
  // One that cannot be decoded cannot be shown either.
  row.picture.hidden = failure?.reason === "picture";
  if (!row.picture.hidden && !row.picture.src) row.picture.src = `/api/v1/executions/${id}/small.jpg`;
  const parts = [given, `${pipeline.name}${version}`, owner === me ? null : t("pipelines.by", { name: owner }), when(created.wall), took === undefined ? null : t("pipelines.took", { n: took }), attempts > 1 ? t("pipelines.attempts", { count: attempts }) : null, failure ? [failure.step, failure.message].filter(Boolean).join(": ") : null];
  setText(row.what, parts.filter(Boolean).join(" · "));
  const outcome = byId("execution-outcome");
  const act = (key, run, question) => button(t(`pipelines.${key}`), outcome, run, question);
  const post = (what) => async () => {
    await send("POST", `/api/v1/executions/${id}/${what}`);
    await refreshExecutions();
  };
  const acts = [];
  if (state === "finished") acts.push(act("result", () => showResult(row, id)));
  if (mayAct && !isOver(execution)) acts.push(act("cancel", post("cancel")));
  if (mayAct && !isOver(execution) && batch) acts.push(act("cancel_batch", async () => {
    await send("POST", `/api/v1/executions/batches/${batch}/cancel`);
    await refreshExecutions();
  }));
  if (mayAct && isOver(execution)) {
    acts.push(act("again", post("repeat")));
    acts.push(act("delete", async () => {
      await send("DELETE", `/api/v1/executions/${id}`);
      await refreshExecutions();
    }, t("pipelines.delete_question")));
  }
  row.acts.replaceChildren(...acts);
}

export async function refreshExecutions() {
  clearTimeout(timer);
  let rest = RESTING_MS;
  try {
    const [{ executions, next }, status] = await Promise.all([send("GET", `/api/v1/executions?limit=${limit}`), send("GET", "/api/v1/executions/status")]);
    for (const execution of executions) {
      if (!rows.has(execution.id)) rows.set(execution.id, makeRow(execution));
      fill(rows.get(execution.id), execution);
    }
    const roots = executions.map(({ id }) => rows.get(id).root);
    const list = byId("executions");
    if (roots.length !== list.children.length || roots.some((root, at) => list.children[at] !== root)) list.replaceChildren(...roots);
    byId("no-executions").hidden = executions.length > 0;
    byId("more").hidden = !next;
    const eta = status.eta_s && status.waiting ? ` ${t("pipelines.eta", { n: Math.ceil(status.eta_s) })}` : "";
    setText(byId("going"), status.waiting || status.running ? t("pipelines.going", { waiting: status.waiting, running: status.running }) + eta : "");
    if (status.waiting || status.running) rest = EVERY_MS;
  } catch (error) {
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
  document.addEventListener("visibilitychange", () => !document.hidden && refreshExecutions());
}
