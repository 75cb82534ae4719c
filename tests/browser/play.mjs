// Shows a clip in a real browser, picture by picture, and prints, as one JSON object, which it presented: the media
// time of each in seconds, the length of the clip, and what went wrong. TIMES says when each begins, as a JSON list.
//
//   node play.mjs URL TIMES      OUTPOST_NODE_MODULES: folder with playwright-core
//                                OUTPOST_CHROMIUM:     the browser, /usr/bin/chromium by default

import process from "node:process";

import { PATIENCE_MS, withPage } from "./chromium.mjs";

/** So long a seek may present nothing. */
const NOTHING_MS = 10_000;
/** So often a picture is asked for of which nothing was heard: callbacks of a busy browser come at its best effort. */
const ROUNDS = 4;
/** Two times that are so near are the same, seconds. */
const SAME_S = 0.002;

// Seeks from picture to picture, so that a busy machine, on which a player skips pictures, shows them all. What is
// presented is noted from the beginning on; a seek to the picture that is shown already may present nothing.
const everyPicture = async ({ url, shown, patience, rounds, same }) => {
  const video = document.querySelector("video");
  const happens = (event) => new Promise((resolve) => video.addEventListener(event, resolve, { once: true }));
  const times = [];
  let isPresented = () => {};
  const note = (_, picture) => {
    times.push(picture.mediaTime);
    isPresented();
    video.requestVideoFrameCallback(note);
  };
  video.requestVideoFrameCallback(note);
  const settled = async (event) => {
    const presented = new Promise((resolve) => (isPresented = resolve));
    const nothing = new Promise((resolve) => setTimeout(resolve, patience));
    await Promise.race([Promise.all([happens(event), presented]), happens("error"), nothing]);
  };
  const loaded = settled("loadeddata");
  video.src = url;
  await loaded;
  const look = async (at) => {
    const there = settled("seeked");
    video.currentTime = at;
    await there;
  };
  const isMissing = (at) => times.every((time) => Math.abs(time - at) > same);
  for (let round = 0; round < rounds; round += 1) {
    for (let i = 0; i < shown.length && !video.error; i += 1) {
      if (round > 0 && !isMissing(shown[i])) continue;
      // Chromium learns from the pictures how long each is shown, and takes the next one until then.
      await look(shown[i]);
      if (i + 1 < shown.length) await look((shown[i] + shown[i + 1]) / 2);
    }
  }
  return { times, duration: video.duration, error: video.error?.message ?? null };
};

async function play(page, url, shown) {
  // A document of the same origin, for files are not handed to others.
  await page.goto(new URL("/healthz", url).href, { timeout: PATIENCE_MS });
  await page.setContent('<video muted preload="auto"></video>');
  return page.evaluate(everyPicture, { url, shown, patience: NOTHING_MS, rounds: ROUNDS, same: SAME_S });
}

const [url, shown] = [process.argv[2], JSON.parse(process.argv[3])];
console.log(JSON.stringify(await withPage({ width: 640, height: 480 }, (page) => play(page, url, shown))));
