// All words of the live view.

import { duration } from "./format.js";

const rounded = (seconds) => duration(Math.round(seconds));

export const TEXT = {
  grid: "Live",
  gridHint: "Play all cameras that are in view",
  open: (camera) => `Open the live view of ${camera}`,
  title: (camera) => `${camera}, live`,
  snapshot: "Snapshot",
  boxes: "Boxes",
  fullScreen: "Full screen",
  close: "Close",
  video: (camera) => `Live video of camera ${camera}`,
  pictures: (camera) => `Live pictures of camera ${camera}`,
  object: (label, score) => `${label} ${Math.round(score * 100)} %`,
};

/** What a tile says of itself. */
export const STATE = {
  connecting: () => "Connecting …",
  live: () => "Live",
  behind: (seconds) => `${rounded(seconds)} behind`,
  frozen: (seconds) => `Frozen for ${rounded(seconds)}`,
  pictures: () => "Still pictures",
  lost: () => "Connecting again …",
  silent: () => "No picture yet",
  full: () => "Too many viewers",
  gone: () => "No such camera",
};

/** Why there is no video. */
export const WHY = {
  camera: (codec) => `The camera sends ${codec}, which browsers do not play as video. These are single pictures, at most five a second.`,
  browser: (codec) => `This browser cannot play the camera's video (${codec}). These are single pictures, at most five a second.`,
  nothing: () => "This browser plays no live video. These are single pictures, at most five a second.",
  full: (message) => message,
};
