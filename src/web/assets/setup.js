// Cameras: which there are, adding one after it was tried, and changing one; what becomes of a change is shown as it happens.

import { byId, element, setText, showFilled } from "./dom.js";
import { onSubmit, send, show } from "./form.js";
import { keys } from "./keys.js";
import { offerPipeline, showBacktest } from "./setup-backtest.js";
import { refreshRules, rulesNow, rulesPatch, showRules } from "./setup-rules.js";
import { shapeNames, shapesNow, shapesPatch, showShapes, showStill } from "./setup-draw.js";
import { because, named, t } from "./texts.js";

const ASK_MS = 1000;

let camera = null;
let known = null;
let shapesBefore = "";
/** The hash of what is shown, and how many were opened: an answer that comes after another was opened is left aside. */
let opened = null;
let opening = 0;

const path = (name) => `/api/v1/cameras/${encodeURIComponent(name)}/config`;
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

/** Waits until it is known whether a change stays, and reports it once `refresh` has shown what is in use then. Whether it stays. */
async function confirmed(say, { status }, refresh) {
  while (status.state === "confirming") {
    say(t("setup.confirming", { changed: status.changed.join(", ") }), false);
    await wait(ASK_MS);
    status = await send("GET", "/api/v1/config").catch(() => status);
  }
  await refresh();
  const isKept = status.state === "in_use";
  const why = status.reason ? t("setup.in_use_but", { reason: status.reason }) : t("setup.in_use");
  say(isKept ? why : t("setup.undone", { reason: status.reason ?? "" }), !isKept);
  return isKept;
}

const sayAbove = (text, isBad) => show(byId("outcome"), text, isBad);

async function showList() {
  const { cameras } = await send("GET", "/api/v1/status");
  const rows = cameras.map((entry) => {
    const link = element("a", { href: `#${encodeURIComponent(entry.name)}` }, entry.name);
    const state = element("b", {}, named("camera.state", entry.state));
    return element("li", { "data-state": entry.state }, link, element("span", {}, state, entry.reason ? ` ${because(entry.cause, entry.reason)}` : ""));
  });
  byId("cameras").replaceChildren(...rows);
  byId("none").hidden = rows.length > 0;
}

function foundRow(source, name, about) {
  const use = element("button", { type: "button", class: "plain" }, t("setup.use"));
  use.addEventListener("click", () => {
    byId("add-url").value = source;
    noteKind();
    byId("add-url").focus();
  });
  return element("li", {}, element("strong", {}, name || source), element("span", {}, [name ? source : "", about].filter(Boolean).join(" · ")), use);
}

byId("find").addEventListener("click", async () => {
  byId("find").disabled = true;
  setText(byId("find-outcome"), t("setup.finding"));
  try {
    const { devices, network } = await send("GET", "/api/v1/cameras/found");
    const rows = [
      ...devices.map((found) => foundRow(found.source, found.name, [found.driver, found.formats.join(", ")].filter(Boolean).join(", "))),
      ...network.map((found) => foundRow(found.source, found.name, found.hardware)),
    ];
    byId("found").replaceChildren(...rows);
    setText(byId("find-outcome"), t("setup.found", { count: rows.length }));
  } catch (error) {
    setText(byId("find-outcome"), error.message);
  } finally {
    byId("find").disabled = false;
  }
});

/** What a form says of a source; what is empty is left out. */
function source(fields) {
  const made = { url: fields.get("url").trim() };
  for (const key of ["username", "password"]) if (fields.get(key)) made[key] = fields.get(key);
  return made;
}

/** Tries what `form` says, and shows the picture in the figure whose parts begin with `name`. */
async function tryOut(form, button, name, body) {
  const outcome = form.querySelector(".outcome");
  byId(name).hidden = true;
  if (!form.reportValidity()) return;
  button.disabled = true;
  show(outcome, t("setup.trying"), false);
  try {
    const probed = await send("POST", "/api/v1/cameras/probe", body());
    show(outcome, t("setup.works"), false);
    byId(`${name}-picture`).src = `data:image/jpeg;base64,${probed.picture}`;
    const facts = [probed.coding, `${probed.width}×${probed.height}`];
    if (probed.fps) facts.push(t("setup.fps", { n: Math.round(probed.fps * 10) / 10 }));
    if (probed.has_audio !== undefined) facts.push(t(probed.audio_note ? "setup.sound_unfit" : probed.has_audio ? "setup.sound" : "setup.no_sound"));
    facts.push(t("setup.first_picture", { n: Math.round(probed.first_picture_s * 10) / 10 }));
    setText(byId(`${name}-text`), facts.join(" · "));
    byId(name).hidden = false;
  } catch (error) {
    show(outcome, error.message, true);
  } finally {
    button.disabled = false;
  }
}

byId("try").addEventListener("click", () => {
  const form = byId("add-form");
  // A name is not needed to try a camera.
  const needed = byId("add-name");
  needed.required = false;
  tryOut(form, byId("try"), "tried", () => ({ source: source(new FormData(form)) })).finally(() => (needed.required = true));
});

const PUBLISHED = "whip:";
const publishPage = (name) => `/cameras/${encodeURIComponent(name)}/publish`;

/** A camera that a phone or browser publishes to cannot be tried before it is there, and asks for a token at most. */
function noteKind() {
  const isPublished = byId("add-url").value.trim() === PUBLISHED;
  byId("try").disabled = isPublished;
  byId("add-user-field").hidden = isPublished;
  byId("phone-hint").hidden = !isPublished;
  if (isPublished) byId("add-user").value = "";
}

byId("add-url").addEventListener("input", noteKind);
byId("add-form").addEventListener("reset", () => setTimeout(noteKind));
byId("phone").addEventListener("click", () => {
  byId("add-url").value = PUBLISHED;
  noteKind();
  byId("add-name").focus();
});

onSubmit(byId("add-form"), async (fields) => {
  const name = fields.get("name").trim();
  const added = await send("POST", "/api/v1/cameras", { name, settings: { source: source(fields) } });
  byId("add-form").reset();
  byId("tried").hidden = true;
  await showList();
  const isPublished = fields.get("url").trim() === PUBLISHED;
  confirmed(sayAbove, added, showList)
    .then((isKept) => isPublished && isKept && byId("outcome").replaceChildren(t("setup.phone_added", { name }), element("a", { href: publishPage(name) }, t("publish.open"))))
    .catch((error) => sayAbove(error.message, true));
  return t("setup.added", { name });
});

const form = byId("source-form");

/** What the form of the source and recording changes. */
function sourcePatch() {
  const { settings, effective } = known;
  const patch = {};
  const put = (section, key, value, before) => {
    if (value !== before) (patch[section] ??= {})[key] = value === "" ? null : value;
  };
  put("source", "url", form.url.value.trim(), effective.source.url);
  put("source", "username", form.username.value, settings.source?.username ?? "");
  if (form.password.value) put("source", "password", form.password.value);
  if (patch.source?.username === null) patch.source.password = null;
  put("record", "mode", form.mode.value, effective.record.mode);
  put("record", "pre_roll", form.pre_roll.value.trim(), effective.record.pre_roll);
  put("record", "post_roll", form.post_roll.value.trim(), effective.record.post_roll);
  put("detect", "enabled", form.detect.checked, effective.detect.enabled);
  put("pipeline", "name", form.pipeline.value, effective.pipeline.name);
  if (form.pipeline.value) put("pipeline", "mode", form.pipeline_mode.value, effective.pipeline.mode);
  // Nothing of the one before holds for another, and nothing at all without one.
  if (patch.pipeline?.name !== undefined) Object.assign(patch.pipeline, { version: null, parameters: null });
  if (patch.pipeline?.name === null) patch.pipeline = null;
  if (form.enabled.checked !== effective.enabled) patch.enabled = form.enabled.checked;
  return patch;
}

const wholePatch = () => ({ ...sourcePatch(), ...shapesPatch(known.settings), ...rulesPatch(known.settings) });
const isChanged = () => known !== null && Object.keys(wholePatch()).length > 0;

function noteChange() {
  if (known === null) return;
  // Rules offer the zones and lines that there are.
  const shapes = JSON.stringify([shapeNames("zone"), shapeNames("line")]);
  if (shapes !== shapesBefore) {
    shapesBefore = shapes;
    refreshRules();
  }
  offerPipeline();
  byId("save").disabled = !isChanged();
  setText(byId("save-hint"), isChanged() ? t("setup.restarts", { name: camera }) : t("setup.nothing_changed"));
}

/** The pipeline that is chosen, as it would be set. */
function pipelineNow() {
  const { name, version, parameters } = known.effective.pipeline;
  if (!form.pipeline.value) return null;
  const chosen = { name: form.pipeline.value, mode: form.pipeline_mode.value };
  return chosen.name === name ? { ...chosen, version, parameters } : chosen;
}

/** Offers the pipelines of the box, and the one that is set. */
function showPipelines(pipelines, { name, mode }) {
  const names = [...new Set([...pipelines.map((pipeline) => pipeline.name), name])].filter(Boolean).sort();
  const options = names.map((option) => element("option", { value: option }, option));
  form.pipeline.replaceChildren(element("option", { value: "" }, t("setup.pipeline.none")), ...options);
  [form.pipeline.value, form.pipeline_mode.value] = [name, mode];
}

const load = (name) => Promise.all([send("GET", path(name)), send("GET", "/api/v1/pipelines")]);

function showCamera(name, [settings, { pipelines }]) {
  [camera, known] = [name, settings];
  const { effective, labels } = settings;
  setText(byId("one-title"), name);
  setText(byId("one-file"), t("setup.in_file", { file: settings.file }));
  byId("publish-line").hidden = effective.source.url !== PUBLISHED;
  byId("publish-link").href = publishPage(name);
  form.url.value = effective.source.url;
  form.username.value = effective.source.username ?? "";
  form.password.value = "";
  setText(byId("password-hint"), effective.source.password_file ? t("setup.password_kept") : "");
  form.mode.value = effective.record.mode;
  form.pre_roll.value = effective.record.pre_roll;
  form.post_roll.value = effective.record.post_roll;
  form.enabled.checked = effective.enabled;
  form.detect.checked = effective.detect.enabled;
  showPipelines(pipelines, effective.pipeline);
  showRules(settings.settings, labels, noteChange);
  showShapes(name, settings.settings, noteChange, refreshRules);
  showBacktest(name, () => ({ rules: rulesNow(), ...shapesNow(known.settings) }), pipelineNow);
  shapesBefore = "";
  noteChange();
}

const isShown = (name) => known !== null && camera === name;

/** What is changed, but for a password: that is sent once. */
function changes() {
  const { source = {}, ...rest } = wholePatch();
  delete source.password;
  return JSON.stringify([source, rest]);
}

/** Shows what the box has of a camera now. What was changed on the page since it was `sent` stays, as does another camera. */
async function refresh(name, sent = "[{},{}]") {
  if (!isShown(name)) return;
  const fresh = await load(name);
  if (!isShown(name)) return;
  if (changes() === sent && !form.password.value) return showCamera(name, fresh);
  [known] = fresh;
  noteChange();
}

async function save() {
  const name = camera;
  // It may take a while, and another camera may be looked at then.
  const say = (text, isBad) => (isShown(name) ? show(byId("save-outcome"), text, isBad) : sayAbove(`${name}: ${text}`, isBad));
  byId("save").disabled = true;
  say("", false);
  const [sent, password] = [changes(), form.password.value];
  try {
    const edited = await send("PATCH", path(name), wholePatch(), { "if-match": `"${known.revision}"` });
    if (isShown(name) && form.password.value === password) form.password.value = "";
    await refresh(name, sent);
    await confirmed(say, edited, () => refresh(name));
  } catch (error) {
    say(error.code === "changed_meanwhile" ? t("setup.changed_meanwhile") : error.message, true);
    noteChange();
  }
}

async function remove() {
  if (!confirm(t("setup.remove_question", { name: camera }))) return;
  const name = camera;
  try {
    const removed = await send("DELETE", path(name), {}, { "if-match": `"${known.revision}"` });
    // There is nothing to save any more.
    known = null;
    location.hash = "";
    if (await confirmed(sayAbove, removed, showList)) sayAbove(t("setup.removed", { name }), false);
  } catch (error) {
    show(byId("save-outcome"), error.message, true);
  }
}

async function open() {
  if (location.hash === opened) return;
  if (isChanged() && !confirm(t("shell.lose_question"))) return history.pushState(null, "", opened || location.pathname);
  const mine = ++opening;
  opened = location.hash;
  known = null;
  const isAdding = opened === "#+new";
  const name = isAdding ? "" : decodeURIComponent(opened.slice(1));
  byId("all").hidden = name !== "";
  byId("one").hidden = name === "";
  // What is typed before the answer would be lost.
  byId("one").inert = true;
  show(byId("outcome"), "", false);
  show(byId("save-outcome"), "", false);
  try {
    const found = await (name === "" ? showList() : load(name));
    if (mine !== opening) return;
    if (name !== "") showCamera(name, found);
    byId("one").inert = false;
    showFilled();
    if (isAdding) byId("add-url").focus();
    if (name !== "") byId("one-title").focus();
  } catch (error) {
    if (mine !== opening) return;
    byId("one").hidden = true;
    show(byId("outcome"), error.message, true);
    showFilled();
  }
}

form.addEventListener("input", noteChange);
form.addEventListener("submit", (event) => event.preventDefault());
byId("retry").addEventListener("click", () => tryOut(form, byId("retry"), "retried", () => ({ camera, source: sourcePatch().source ?? {} })));
byId("renew").addEventListener("click", () => showStill(camera));
byId("save").addEventListener("click", save);
byId("remove").addEventListener("click", remove);
window.addEventListener("hashchange", open);
window.addEventListener("beforeunload", (event) => isChanged() && event.preventDefault());
keys({ s: ["setup.save", () => known !== null && !byId("save").disabled && save()] });
open();
