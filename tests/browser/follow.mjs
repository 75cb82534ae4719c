// Opens an event on its page of a running daemon, by the address that it had before there was such a page, lets the first file of its clip end, and prints, as one JSON object,
// what the page plays then, which files it lists, what it says of the clip, and what went wrong.
//
//   node follow.mjs URL          URL with the event behind #
//                                OUTPOST_NODE_MODULES: folder with playwright-core
//                                OUTPOST_CHROMIUM:     the browser, /usr/bin/chromium by default

import process from "node:process";

import { PATIENCE_MS, withPage } from "./chromium.mjs";

const toTheEnd = async () => {
  const video = document.getElementById("event-video");
  const happens = (event) => new Promise((resolve) => video.addEventListener(event, resolve, { once: true }));
  if (video.readyState < 1) await happens("loadedmetadata");
  const first = video.src;
  video.muted = true;
  video.currentTime = video.duration - 0.2;
  await happens("seeked");
  await video.play();
  return first;
};

async function follow(page, url) {
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(url, { waitUntil: "load", timeout: PATIENCE_MS });
  await page.waitForFunction(() => document.getElementById("event-video")?.src, undefined, { timeout: PATIENCE_MS });
  const first = await page.evaluate(toTheEnd);
  const isNext = (before) => {
    const video = document.getElementById("event-video");
    return video.src !== before && video.currentTime > 0;
  };
  await page.waitForFunction(isNext, first, { timeout: PATIENCE_MS });
  return {
    first,
    next: await page.evaluate(() => document.getElementById("event-video").src),
    files: await page.innerText("#event-files"),
    facts: await page.innerText("#event-facts"),
    errors,
  };
}

console.log(JSON.stringify(await withPage({ width: 1280, height: 900 }, (page) => follow(page, process.argv[2]))));
