// Models: what they are, how fast they are here, and what one sees in a picture of a person's own.

import { byId, element, setText, showFilled } from "./dom.js";
import { button, send, sendPicture, show } from "./form.js";
import { bytes, objectName, percent } from "./format.js";
import { locale, named, t } from "./texts.js";

const EVERY_MS = 5000;
/** Pixels of the longer side of a picture as it is shown. */
const SHOWN = 1280;
const LEAST_SCORE = 0.05;
const SVG = "http://www.w3.org/2000/svg";
const mayTry = byId("try") !== null;
const cards = new Map();
let found = null; // what was found in the picture that is shown
let round = 0;

const ms = (n) => t("models.ms", { n: n.toLocaleString(locale, { maximumFractionDigits: n < 10 ? 1 : 0 }) });

const fact = (name, ...value) => [element("dt", {}, t(`models.${name}`)), element("dd", {}, ...value)];

function versionFacts({ version, versions }) {
  const others = versions.filter((other) => other.version !== version).map((other) => other.version);
  if (version === undefined || (version === 1 && !others.length)) return [];
  return fact("version", others.length ? t("models.version_others", { version, others: others.join(", ") }) : version);
}

/** Why the model cannot be used, or versions that are newer than the one in use. */
function reasonOf({ reason, version, versions }) {
  const failed = versions.filter((other) => other.state === "broken" && other.version > version);
  return reason ?? failed.map((other) => t("models.version_broken", { version: other.version, reason: other.reason })).join(" ");
}

function facts({ cameras, manifest, version, versions }) {
  const used = cameras.length ? cameras.join(", ") : t("models.by_no_camera");
  if (!manifest) return fact("cameras", used);
  const labels = element("details", {}, element("summary", {}, t("models.labels_count", { count: manifest.labels.length })), manifest.labels.join(", "));
  return [
    ...fact("cameras", used),
    ...versionFacts({ version, versions }),
    ...fact("input", `${manifest.width} × ${manifest.height}`),
    ...fact("file", [manifest.file, manifest.bytes === undefined ? t("models.missing") : bytes(manifest.bytes)].join(" · ")),
    ...fact("labels", labels),
    ...fact("licence", manifest.licence),
    ...fact("origin", manifest.origin),
  ];
}

function makeCard(model) {
  const card = { state: element("p", {}), reason: element("p", { class: "reason" }), speed: element("p", {}), facts: element("dl", {}), known: "" };
  const outcome = element("p", { class: "outcome", role: "status", hidden: true });
  card.root = element("li", { class: "panel" }, element("h2", {}, model.name), card.state, card.reason, card.speed);
  if (mayTry) {
    const measure = button(t("models.measure"), outcome, async () => {
      show(outcome, t("models.measuring"), false);
      const speed = await send("POST", `/api/v1/models/${encodeURIComponent(model.name)}/speed`);
      showSpeed(card, speed);
      show(outcome, "", false);
    });
    measure.className = "button small";
    measure.setAttribute("aria-label", t("models.measure_one", { name: model.name }));
    card.root.append(element("p", {}, measure), outcome);
  }
  card.root.append(card.facts);
  return card;
}

function showSpeed(card, speed) {
  setText(card.speed, speed ? t("models.speed", { median: ms(speed.median_ms), p95: ms(speed.p95_ms), count: speed.runs }) : t("models.not_measured"));
}

function showCard(card, model) {
  setText(card.state, named("models.state", model.state));
  const reason = reasonOf(model);
  setText(card.reason, reason);
  card.reason.hidden = !reason;
  showSpeed(card, model.speed);
  const known = JSON.stringify([model.cameras, model.manifest, model.version, model.versions]);
  if (known !== card.known) card.facts.replaceChildren(...facts(model));
  card.known = known;
}

async function refresh() {
  const { models } = await send("GET", "/api/v1/models");
  for (const model of models) {
    if (!cards.has(model.name)) cards.set(model.name, makeCard(model));
    showCard(cards.get(model.name), model);
  }
  const roots = models.map(({ name }) => cards.get(name).root);
  const list = byId("models");
  if (roots.length !== list.children.length || roots.some((root, place) => list.children[place] !== root)) list.replaceChildren(...roots);
  byId("no-models").hidden = models.length > 0;
  if (mayTry) offer(models);
  show(byId("problem"), "", false);
}

function offer(models) {
  const choice = byId("model");
  const names = models.filter(({ state }) => state !== "broken").map(({ name }) => name);
  if (names.join() === [...choice.options].map(({ value }) => value).join()) return;
  const before = choice.value || models.find(({ cameras }) => cameras.length)?.name;
  choice.replaceChildren(...names.map((name) => element("option", { value: name }, name)));
  if (names.includes(before)) choice.value = before;
}

const look = () => (document.hidden ? Promise.resolve() : refresh().catch((error) => show(byId("problem"), error.message, true)).finally(showFilled));

// Trying one on a picture.

function rectangle([x, y, w, h], kind) {
  const made = document.createElementNS(SVG, "rect");
  for (const [key, value] of Object.entries({ x, y, width: w, height: h, class: kind })) made.setAttribute(key, value);
  return made;
}

/** Shows what is found from the chosen score on. */
function showFound() {
  const least = Number(byId("score").value) / 100;
  setText(byId("score-text"), percent(least));
  if (!found) return;
  const things = found.detections.filter(({ score }) => score >= least);
  byId("boxes").replaceChildren(...things.flatMap(({ box }) => [rectangle(box, "under"), rectangle(box, "")]));
  byId("found").replaceChildren(...things.map(({ label, score }) => element("li", {}, `${objectName(label)} ${percent(score)}`)));
  const size = `${found.width} × ${found.height}`;
  setText(byId("tried-text"), `${t("models.found", { count: things.length, time: ms(found.took_ms) })} ${size}`);
  byId("shown").setAttribute("aria-label", things.length ? things.map(({ label }) => objectName(label)).join(", ") : t("models.found_none"));
}

async function showPicture(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, SHOWN / Math.max(bitmap.width, bitmap.height));
  const canvas = byId("shown");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
}

async function tryOut() {
  const [file] = byId("picture").files;
  const [model, outcome] = [byId("model").value, byId("try-outcome")];
  if (!file || !model) return;
  const mine = ++round;
  byId("tried").hidden = true;
  found = null;
  show(outcome, t("models.trying"), false);
  try {
    const answer = await sendPicture(`/api/v1/models/${encodeURIComponent(model)}/detections?min_score=${LEAST_SCORE}`, file);
    if (mine !== round) return;
    await showPicture(file);
    if (mine !== round) return;
    found = answer;
    byId("tried").hidden = false;
    show(outcome, "", false);
    showFound();
    look();
  } catch (error) {
    if (mine === round) show(outcome, error.message, true);
  }
}

if (mayTry) {
  byId("boxes").setAttribute("viewBox", "0 0 1 1");
  byId("boxes").setAttribute("preserveAspectRatio", "none");
  byId("picture").addEventListener("change", tryOut);
  byId("model").addEventListener("change", tryOut);
  byId("score").addEventListener("input", showFound);
  showFound();
}
setInterval(look, EVERY_MS);
look();
