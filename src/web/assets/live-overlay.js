// Boxes, zones and lines over a picture, in step with it.

import { objectName } from "./format.js";
import { t } from "./texts.js";

/** A box is drawn for so long after it was seen last, and between two looks that are no farther apart. */
const FADES_S = 1.5;
const BETWEEN_S = 3;
const FONT = "600 13px system-ui, sans-serif";
/** Pictures that are narrower have no room for words, or for scores, pixels. */
const ROOM_FOR_WORDS = 340;
const ROOM_FOR_SCORES = 640;

const mix = (a, b, share) => a.map((value, i) => value + (b[i] - value) * share);

/** The objects at `time`, between the looks before and after it. */
export function objectsAt(looks, time, isFollowed = true) {
  const behind = looks.findLastIndex((look) => look.at <= time);
  const [before, after] = [looks[behind], looks[behind + 1]];
  if (!before || time - before.at > FADES_S) return [];
  if (!isFollowed) return before.objects;
  const share = after && after.at - before.at < BETWEEN_S ? (time - before.at) / (after.at - before.at) : 0;
  return before.objects.map((object) => {
    const later = share > 0 && after.objects.find(({ id }) => id === object.id);
    return later ? { ...object, box: mix(object.box, later.box, share) } : object;
  });
}

export class Overlay {
  #stopped = true;
  #drawn = "";

  constructor(canvas, player) {
    Object.assign(this, { canvas, player, shown: true });
    this.context = canvas.getContext("2d");
  }

  start() {
    if (!this.#stopped) return;
    this.#stopped = false;
    const { video } = this.player;
    const next = () => {
      if (this.#stopped) return;
      if (video.requestVideoFrameCallback) video.requestVideoFrameCallback((_, picture) => draw(picture.mediaTime));
      else requestAnimationFrame(() => draw(video.currentTime));
    };
    const draw = (time) => {
      if (this.#stopped) return;
      this.draw(time);
      next();
    };
    next();
  }

  stop() {
    this.#stopped = true;
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    delete this.canvas.dataset.objects;
    this.#drawn = "";
  }

  /** Draws what belongs to the picture of `time`; nothing where that is drawn already. */
  draw(time) {
    const { canvas, player } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const objects = this.shown ? objectsAt(player.looks, player.boxTime(time)) : [];
    const found = this.shown ? objectsAt(player.pipelineLooks, player.boxTime(time), false) : [];
    const outlines = this.shown ? player.outlines : null;
    const boxes = [...objects, ...found].map(({ id, box }) => `${id}:${box.map((value) => value.toFixed(3)).join(",")}`).join(" ");
    const state = `${width}x${height}*${ratio} ${this.shown} ${Boolean(outlines)} ${boxes}`;
    if (state === this.#drawn) return;
    this.#drawn = state;
    canvas.dataset.objects = boxes;
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    const { context } = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const place = this.#place(width, height);
    if (!place) return;
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(name).trim();
    outlines?.zones.forEach((zone) => this.#outline(zone, place, true, colour("--overlay-zone")));
    outlines?.lines.forEach((line) => this.#outline(line, place, false, colour("--overlay-zone")));
    found.forEach((object) => this.#box(object, place, colour("--overlay-pipeline")));
    objects.forEach((object) => this.#box(object, place, colour("--overlay-box")));
  }

  /** Where the picture lies within its frame. */
  #place(width, height) {
    const { videoWidth, videoHeight } = this.player.video;
    if (!videoWidth || !width) return null;
    const scale = Math.min(width / videoWidth, height / videoHeight);
    const [w, h] = [videoWidth * scale, videoHeight * scale];
    return { x: (width - w) / 2, y: (height - h) / 2, w, h };
  }

  #outline({ name, points }, place, closed, colour) {
    const { context } = this;
    const at = ([x, y]) => [place.x + x * place.w, place.y + y * place.h];
    context.beginPath();
    points.forEach((point, i) => context[i === 0 ? "moveTo" : "lineTo"](...at(point)));
    if (closed) context.closePath();
    context.strokeStyle = colour;
    context.lineWidth = 2;
    context.setLineDash([7, 5]);
    context.stroke();
    context.setLineDash([]);
    if (closed) {
      context.globalAlpha = 0.1;
      context.fillStyle = colour;
      context.fill();
      context.globalAlpha = 1;
    }
    const [x, y] = at(points.reduce((low, point) => (point[1] < low[1] ? point : low)));
    this.#label(name, x, y, place, colour);
  }

  #box({ label, score, seen, box: [x, y, w, h] }, place, colour) {
    const { context } = this;
    const [left, top] = [place.x + x * place.w, place.y + y * place.h];
    context.strokeStyle = colour;
    context.lineWidth = place.w < ROOM_FOR_WORDS ? 1.5 : 2.5;
    if (!seen) {
      context.globalAlpha = 0.6;
      context.setLineDash([3, 5]);
    }
    context.strokeRect(left, top, w * place.w, h * place.h);
    context.globalAlpha = 1;
    context.setLineDash([]);
    if (!seen) return;
    const name = objectName(label);
    this.#label(place.w < ROOM_FOR_SCORES ? name : t("live.object", { label: name, score: Math.round(score * 100) }), left, top, place, colour);
  }

  #label(text, x, y, place, background) {
    if (place.w < ROOM_FOR_WORDS) return;
    const { context } = this;
    context.font = FONT;
    const width = Math.min(context.measureText(text).width + 10, place.w);
    const left = Math.max(place.x, Math.min(x - 1, place.x + place.w - width));
    const top = Math.max(place.y, y - 20);
    context.fillStyle = background;
    context.fillRect(left, top, width, 20);
    context.fillStyle = "#0b1011";
    context.fillText(text, left + 5, top + 14.5, width - 10);
  }
}
