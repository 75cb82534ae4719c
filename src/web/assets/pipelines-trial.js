// A pipeline on a picture of one's own or of an event: what each step gives is shown on its node.

import { byId, element } from "./dom.js";
import { button, send, show } from "./form.js";
import { when } from "./format.js";
import { refreshExecutions } from "./pipelines-executions.js";
import { state } from "./pipelines.js";
import { t } from "./texts.js";

const EVENTS = 30;
const input = () => Object.keys(state.pipeline.inputs ?? { image: null })[0];

async function post(path, body, headers = {}) {
  const answer = await fetch(path, { method: "POST", headers, body });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.detail ?? t("error.status", { status: answer.status }));
  return said;
}

function given() {
  const { files } = byId("pictures");
  const event = byId("event").value;
  if (!files.length && !event) throw new Error(t("pipelines.no_picture"));
  return { files: [...files], event };
}

async function tryOut(draw) {
  const { files, event } = given();
  let asked;
  if (files.length) {
    const form = new FormData();
    form.append("definition", JSON.stringify(state.pipeline));
    form.append(input(), files[0]);
    asked = post("/api/v1/pipelines/try", form);
  } else {
    asked = send("POST", "/api/v1/pipelines/try", { definition: state.pipeline, inputs: { [input()]: { event } } });
  }
  const { round } = state;
  const trial = await asked;
  // It says nothing of a pipeline that was opened since.
  if (round !== state.round) return;
  state.trial = trial;
  draw();
  const { failure, took_ms: took, effects } = state.trial;
  const done = effects.length ? ` ${t("pipelines.would", { what: effects.map((effect) => effect.alert ?? effect.keep ?? (effect.post ? t("pipelines.webhook", { name: effect.post }) : t("pipelines.photo"))).join(", ") })}` : "";
  show(byId("tried"), failure ? failure.message : t("pipelines.tried", { n: took }) + done, Boolean(failure));
}

/** Sends all pictures through the version that was saved. */
async function execute() {
  if (!state.saved) throw new Error(t("pipelines.not_saved"));
  const { files, event } = given();
  const form = new FormData();
  form.append("pipeline", state.saved.name);
  if (state.version) form.append("version", state.version);
  for (const file of files) form.append("file", file);
  const sent = files.length
    ? await post("/api/v1/executions", form)
    : await send("POST", "/api/v1/executions", { pipeline: state.saved.name, version: state.version, inputs: { [input()]: { event } } });
  const refused = (sent.refused ?? []).map(({ file, detail }) => t("pipelines.refused", { file, why: detail }));
  show(byId("tried"), [t("pipelines.sent", { count: sent.executions.length }), ...refused].join(" "), refused.length > 0);
  await refreshExecutions();
}

export async function startTrial(draw) {
  const outcome = byId("tried");
  byId("runs").append(button(t("pipelines.try_now"), outcome, () => tryOut(draw)), button(t("pipelines.execute"), outcome, execute));
  for (const section of [byId("try"), byId("graph")]) {
    for (const kind of ["dragover", "dragleave", "drop"]) {
      section.addEventListener(kind, (event) => {
        event.preventDefault();
        section.classList.toggle("pl-drop", kind === "dragover");
        if (kind !== "drop" || !event.dataTransfer.files.length) return;
        byId("pictures").files = event.dataTransfer.files;
        tryOut(draw).catch((error) => show(outcome, error.message, true));
      });
    }
  }
  const { events } = await send("GET", `/api/v1/events?limit=${EVENTS}`).catch(() => ({ events: [] }));
  const option = ({ event: { id, label, camera, start } }) => element("option", { value: id }, `${when(start.wall)} · ${camera} · ${label}`);
  byId("event").replaceChildren(element("option", { value: "" }, t("pipelines.no_event")), ...events.filter(({ event }) => event.pictures?.length).map(option));
}
