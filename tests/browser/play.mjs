// Shows a clip in a real browser, picture by picture, and prints, as one JSON object, which it presented: the media
// time of each in seconds, the length of the clip, and what went wrong. TIMES says when each begins, as a JSON list.
//
//   node play.mjs URL TIMES      OUTPOST_NODE_MODULES: folder with playwright-core
//                                OUTPOST_CHROMIUM:     the browser, /usr/bin/chromium by default

import { createRequire } from "node:module";
import path from "node:path";
import process from "node:process";

const { chromium } = createRequire(path.join(process.env.OUTPOST_NODE_MODULES, "here.js"))("playwright-core");

const ARGUMENTS = [
  "--no-sandbox", // tests may run as root, where Chromium's own sandbox cannot
  "--disable-gpu",
  "--disable-quic",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];
const PATIENCE_MS = 10_000;

// Seeks from picture to picture, so that a busy machine, on which a player skips pictures, shows them all. What is
// presented is noted from the beginning on; a seek to the picture that is shown already may present nothing.
const everyPicture = async ({ url, shown, patience }) => {
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
  for (let i = 0; i < shown.length && !video.error; i += 1) {
    // Chromium learns from the pictures how long each is shown, and takes the next one until then.
    await look(shown[i]);
    if (i + 1 < shown.length) await look((shown[i] + shown[i + 1]) / 2);
  }
  return { times, duration: video.duration, error: video.error?.message ?? null };
};

async function play(url, shown) {
  const browser = await chromium.launch({
    executablePath: process.env.OUTPOST_CHROMIUM ?? "/usr/bin/chromium",
    args: ARGUMENTS,
  });
  try {
    const page = await browser.newPage({ viewport: { width: 640, height: 480 } });
    // A document of the same origin, for files are not handed to others.
    await page.goto(new URL("/healthz", url).href, { timeout: PATIENCE_MS });
    await page.setContent('<video muted preload="auto"></video>');
    return await page.evaluate(everyPicture, { url, shown, patience: PATIENCE_MS });
  } finally {
    await browser.close();
  }
}

console.log(JSON.stringify(await play(process.argv[2], JSON.parse(process.argv[3]))));
