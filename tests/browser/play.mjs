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
const PATIENCE_MS = 60_000;

// Seeks from picture to picture, so that a busy machine, on which a player skips pictures, shows them all.
const everyPicture = async ({ shown, patience }) => {
  const video = document.querySelector("video");
  const happens = (event) => new Promise((resolve) => video.addEventListener(event, resolve, { once: true }));
  if (video.readyState < 1) await Promise.race([happens("loadedmetadata"), happens("error")]);
  const times = [];
  const look = async (at) => {
    const presented = new Promise((resolve) => {
      video.requestVideoFrameCallback((_, picture) => resolve(picture.mediaTime));
    });
    const nothing = new Promise((resolve) => setTimeout(() => resolve(null), patience));
    video.currentTime = at;
    times.push(await Promise.race([presented, happens("error").then(() => null), nothing]));
  };
  for (let i = 0; i < shown.length && !video.error; i += 1) {
    // Chromium learns from the pictures how long each is shown, and takes the next one until then.
    await look(shown[i]);
    await look((shown[i] + (shown[i + 1] ?? video.duration)) / 2);
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
    await page.goto(url, { waitUntil: "load", timeout: PATIENCE_MS });
    return await page.evaluate(everyPicture, { shown, patience: PATIENCE_MS });
  } finally {
    await browser.close();
  }
}

console.log(JSON.stringify(await play(process.argv[2], JSON.parse(process.argv[3]))));
