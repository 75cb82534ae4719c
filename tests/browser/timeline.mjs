// Goes over the recordings of a box as a person would, and prints as one JSON object what happened.
//
//   node timeline.mjs URL PLAN   PLAN: JSON with `camera`; `at`, a time that is recorded; `folder` for the download
//                                OUTPOST_NODE_MODULES: folder with playwright-core and axe-core
//                                OUTPOST_SCREENSHOTS:  a folder for PNGs of the page, if anywhere

import path from "node:path";
import process from "node:process";

import { PATIENCE_MS } from "./chromium.mjs";
import { launch, makeObserver } from "./observer.mjs";

const { seen, follow, look } = makeObserver();

/** What the player shows: the file, where in it, pictures so far, and the time that is said. */
const shown = (page) => page.evaluate(() => {
  const video = document.querySelector(".tl-stage video:not([hidden])");
  return {
    url: video.dataset.url ?? "",
    time: video.currentTime,
    frames: video.getVideoPlaybackQuality().totalVideoFrames,
    width: video.videoWidth,
    at: new URLSearchParams(location.search).get("at"),
  };
});
const spanOf = (page) => page.textContent("#tl-span");
const ready = (page) => page.waitForFunction(() => document.querySelector(".tl-stage video:not([hidden])").readyState >= 2);

async function zoomAndJump(page, at) {
  const spans = [await spanOf(page)];
  await page.click("#tl-in");
  spans.push(await spanOf(page));
  await page.locator("h1").click();
  await page.keyboard.press("-");
  spans.push(await spanOf(page));
  const box = await page.locator("#tl-over").boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height - 10);
  await page.mouse.wheel(0, 2000);
  spans.push(await spanOf(page));
  seen.steps.spans = spans;
  const local = await page.evaluate((time) => new Date(Date.parse(time) - new Date(time).getTimezoneOffset() * 60000).toISOString().slice(0, 19), at);
  await page.fill("#tl-at", local);
  await page.click("#tl-jump button");
  await ready(page);
}

/** Plays until `files` files were on show, and a gap was passed over. */
async function play(page, files) {
  await page.selectOption("#tl-speed", "4");
  await page.locator("h1").click();
  const before = await shown(page);
  const urls = new Set([before.url]);
  const clocks = [];
  await page.keyboard.press("k");
  const end = Date.now() + PATIENCE_MS;
  let said = "";
  while ((urls.size < files || said === "") && Date.now() < end) {
    const now = await shown(page);
    said ||= await page.textContent("#tl-said");
    urls.add(now.url);
    clocks.push(await page.textContent("#tl-clock"));
    await page.waitForTimeout(100);
  }
  const entered = await shown(page);
  // The file behind the seam goes on: time passes in it, and pictures are shown.
  await page.waitForFunction(({ url, time, frames }) => {
    const video = document.querySelector(".tl-stage video:not([hidden])");
    return video.dataset.url !== url || (video.currentTime > time + 0.5 && video.getVideoPlaybackQuality().totalVideoFrames > frames);
  }, entered);
  await page.keyboard.press("k");
  const paused = await page.textContent("#tl-play");
  seen.steps.played = { files: urls.size, clocks: new Set(clocks).size, width: entered.width, said, paused };
}

async function stepByFrame(page) {
  await ready(page);
  const times = [];
  for (const key of [",", ",", "."]) {
    await page.keyboard.press(key);
    await page.waitForTimeout(400);
    await ready(page);
    times.push((await shown(page)).time);
  }
  seen.steps.frames = times;
}

async function scrub(page) {
  // In to about a minute, around what plays.
  for (let n = 0; n < 13; n += 1) await page.keyboard.press("+");
  await page.waitForResponse((response) => response.url().includes("/api/v1/timeline") && response.ok());
  const place = await page.evaluate(() => document.getElementById("tl-head").getBoundingClientRect().left);
  const box = await page.locator(".tl-row:has([aria-pressed=true]) canvas").boundingBox();
  await page.mouse.move(place - 3, box.y + box.height - 8);
  await page.waitForFunction(() => {
    const image = document.getElementById("tl-picture");
    return !image.hidden && image.complete && image.naturalWidth > 0;
  });
  seen.steps.peek = await page.evaluate(() => [document.getElementById("tl-picture").naturalWidth, document.getElementById("tl-when").textContent]);
  await look(page, "timeline-scrub");
  await page.mouse.move(5, 5);
}

async function exportSpan(page, folder) {
  await page.locator("h1").click();
  await page.keyboard.press("[");
  await page.waitForSelector("#tl-from:not([hidden])");
  await page.focus("#tl-until");
  const before = await page.getAttribute("#tl-until", "aria-valuenow");
  await page.keyboard.press("ArrowRight");
  const after = await page.getAttribute("#tl-until", "aria-valuenow");
  await look(page, "timeline-selected");
  await page.click("#tl-export button[type=submit]");
  const link = page.locator("#tl-exports a[download]").first();
  await link.waitFor();
  const [download] = await Promise.all([page.waitForEvent("download"), link.click()]);
  const file = path.join(folder, download.suggestedFilename());
  await download.saveAs(file);
  seen.steps.export = { file, moved: Number(after) - Number(before) };
}

async function pinch(page) {
  const client = await page.context().newCDPSession(page);
  const box = await page.locator("#tl-over").boundingBox();
  const [middle, y] = [box.x + box.width / 2, box.y + box.height - 12];
  const touch = (type, apart) => client.send("Input.dispatchTouchEvent", {
    type,
    touchPoints: apart === null ? [] : [-1, 1].map((side, id) => ({ x: middle + side * apart, y, id })),
  });
  const before = await spanOf(page);
  await touch("touchStart", 30);
  for (const apart of [50, 80, 110, 140]) await touch("touchMove", apart);
  await touch("touchEnd", null);
  seen.steps.pinch = [before, await spanOf(page)];
}

async function main(url, { camera, at, folder }) {
  const browser = await launch();
  try {
    const desktop = { viewport: { width: 1280, height: 900 }, locale: "en-GB" };
    const page = follow(await (await browser.newContext(desktop)).newPage());
    await page.goto(`${url}timeline`);
    await page.waitForSelector("#tl-below:not([hidden])");
    await look(page, "timeline");
    seen.steps.words = await page.locator(".tl-row p").first().textContent();
    await zoomAndJump(page, at);
    await play(page, 4);
    await stepByFrame(page);
    await scrub(page);
    await exportSpan(page, folder);
    await page.waitForTimeout(400);
    const [before, span] = [page.url(), await spanOf(page)];
    await page.reload();
    await ready(page);
    seen.steps.reload = { before: new URL(before).search, after: new URL(page.url()).search, same: (await spanOf(page)) === span };

    const phone = { viewport: { width: 390, height: 844 }, colorScheme: "dark", hasTouch: true, isMobile: true, locale: "en-GB" };
    const small = follow(await (await browser.newContext(phone)).newPage());
    await small.goto(`${url}timeline?camera=${camera}&at=${at}`);
    await ready(small);
    await look(small, "timeline-phone");
    await pinch(small);
    seen.steps.wide = await small.evaluate(() => document.documentElement.scrollWidth);
    const japanese = follow(await (await browser.newContext({ ...desktop, locale: "ja-JP" })).newPage());
    await japanese.goto(`${url}timeline?camera=${camera}&at=${at}`);
    await ready(japanese);
    await look(japanese, "timeline-japanese");
  } finally {
    await browser.close();
  }
  return seen;
}

console.log(JSON.stringify(await main(process.argv[2], JSON.parse(process.argv[3]))));
