// Live views: the one that opens over the page, and all cameras that are in view.

import { element, setText } from "./dom.js";
import { duration } from "./format.js";
import { Overlay } from "./live-overlay.js";
import { makePipelineView } from "./live-pipeline.js";
import { LivePlayer } from "./live-player.js";
import { t } from "./texts.js";

/** Whether tiles play, and which. */
let playsAll = false;
const tiles = new Map();

/** A picture, and the player and overlay of a camera. */
function makeStage(name, pictures, onState) {
  const video = element("video", { class: "live-picture", "aria-label": t("live.video", { camera: name }), hidden: true });
  Object.assign(video, { muted: true, playsInline: true, disablePictureInPicture: true });
  const image = element("img", { class: "live-picture", alt: t("live.pictures", { camera: name }), hidden: true });
  const canvas = element("canvas", { class: "live-overlay", "aria-hidden": "true" });
  const player = new LivePlayer({ camera: name, video, image, onState, pictures });
  return { video, image, canvas, player, overlay: new Overlay(canvas, player) };
}

/** What a tile says of itself. */
const STATES = ["connecting", "live", "behind", "frozen", "pictures", "lost", "silent", "full", "gone"];

function showState(chip, state, seconds) {
  chip.hidden = !STATES.includes(state);
  chip.dataset.live = state;
  if (!chip.hidden) setText(chip, t(`live.state.${state}`, { time: duration(Math.round(seconds)) }));
}

// Tiles.

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const tile = tiles.get(entry.target.dataset.camera);
    if (!tile) continue;
    tile.visible = entry.isIntersecting;
    playTile(tile);
  }
});

function playTile(tile) {
  const plays = playsAll && tile.visible && tile.live && !dialog.open;
  if (plays && !tile.stage) {
    tile.stage = makeStage(tile.name, false, (state, seconds) => {
      showState(tile.chip, state, seconds);
      tile.root.dataset.live = state;
    });
    tile.frame.append(tile.stage.video, tile.stage.image, tile.stage.canvas, tile.chip);
  }
  if (!tile.stage || tile.plays === plays) return;
  tile.plays = plays;
  const { player, overlay, video, image, canvas } = tile.stage;
  if (plays) {
    player.start(tile.codec);
    overlay.start();
    return;
  }
  overlay.stop();
  player.stop();
  for (const part of [video, image, canvas, tile.chip]) part.remove();
  tile.stage = null;
  tile.root.dataset.live = "";
}

/** Makes a camera's card one that opens and plays. `picture` is where its still is shown. */
export function attachLive({ name, root, picture }) {
  const frame = element("div", { class: "live-frame" });
  const button = element("button", { type: "button", class: "live-open", "aria-label": t("live.open", { camera: name }) });
  button.addEventListener("click", () => openLive(name));
  picture.append(frame, button);
  const chip = element("span", { class: "chip live-state" });
  tiles.set(name, { name, root, frame, button, chip, stage: null, plays: false, visible: false, live: false, codec: "" });
  watcher.observe(root);
}

export function updateLive(name, { live, codec }) {
  const tile = tiles.get(name);
  if (!tile) return;
  Object.assign(tile, { live, codec });
  tile.button.disabled = !live && opened?.name !== name;
  playTile(tile);
}

export function detachLive(name) {
  const tile = tiles.get(name);
  if (!tile) return;
  watcher.unobserve(tile.root);
  playTile({ ...tile, visible: false });
  tiles.delete(name);
  if (opened?.name === name) dialog.close();
}

/** Whether the still of a camera is covered by its video. */
export const isPlaying = (name) => tiles.get(name)?.stage?.video.hidden === false;

// The toggle.

const toggle = element("button", { type: "button", class: "button live-toggle", "aria-pressed": "false", title: t("live.grid_hint") }, t("live.grid"));
toggle.addEventListener("click", () => {
  playsAll = !playsAll;
  toggle.setAttribute("aria-pressed", String(playsAll));
  tiles.forEach(playTile);
});
document.getElementById("cameras-head").append(toggle);

// The single view.

let opened = null;
const title = element("h2", { id: "live-title" });
const state = element("span", { class: "chip live-state", role: "status" });
const snapshot = element("button", { type: "button", class: "button" }, t("live.snapshot"));
const boxes = element("button", { type: "button", class: "button", "aria-pressed": "true" }, t("live.boxes"));
const large = element("button", { type: "button", class: "button" }, t("live.full_screen"));
const close = element("button", { type: "button", class: "button icon", "aria-label": t("shell.close") }, "✕");
const frame = element("div", { class: "live-frame" });
const why = element("p", { class: "live-why", role: "status", hidden: true });
const pipeline = makePipelineView();
const dialog = element(
  "dialog",
  { id: "live", class: "live", "aria-labelledby": "live-title" },
  element("div", { class: "live-head" }, title, state, element("div", { class: "live-tools" }, snapshot, boxes, large), close),
  frame,
  why,
  pipeline.root,
);
document.body.append(dialog);
large.hidden = !document.fullscreenEnabled;

export function openLive(name) {
  if (dialog.open) return;
  const stage = makeStage(name, true, (now, seconds, reason) => {
    showState(state, now, seconds);
    dialog.dataset.live = now;
    const [kind, codec] = reason ?? [];
    why.hidden = !kind;
    // A box that has too many viewers says so itself.
    setText(why, !kind ? "" : kind === "full" ? codec : t(`live.why.${kind}`, { codec }));
  });
  opened = { name, ...stage };
  setText(title, t("live.title", { camera: name }));
  // The still stands until the first picture comes.
  const still = tiles.get(name)?.root.querySelector(".picture > img")?.cloneNode();
  still?.classList.add("live-still");
  frame.replaceChildren(...[still, stage.video, stage.image, stage.canvas].filter(Boolean));
  stage.overlay.shown = boxes.getAttribute("aria-pressed") === "true";
  dialog.showModal();
  tiles.forEach(playTile);
  stage.player.onPipeline = pipeline.take;
  pipeline.start(name);
  stage.player.start(tiles.get(name)?.codec);
  stage.overlay.start();
}

dialog.addEventListener("close", () => {
  opened?.overlay.stop();
  opened?.player.stop();
  pipeline.stop();
  opened = null;
  frame.replaceChildren();
  dialog.dataset.live = "";
  tiles.forEach(playTile);
});
close.addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (click) => {
  if (click.target === dialog) dialog.close();
});
boxes.addEventListener("click", () => {
  if (!opened) return;
  opened.overlay.shown = !opened.overlay.shown;
  boxes.setAttribute("aria-pressed", String(opened.overlay.shown));
  opened.overlay.draw(opened.video.currentTime);
});
large.addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else frame.requestFullscreen().catch(() => {});
});
snapshot.addEventListener("click", async () => {
  if (!opened) return;
  const picture = opened.image.hidden ? opened.video : opened.image;
  const [width, height] = [picture.videoWidth || picture.naturalWidth, picture.videoHeight || picture.naturalHeight];
  if (!width) return;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  canvas.getContext("2d").drawImage(picture, 0, 0, width, height);
  const name = `${opened.name}-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.jpg`;
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});
