// First paint of pages in Chromium, and what an open page sends for while nothing happens.
//
// usage: paint.mjs SECONDS NAME=URL...

import process from "node:process";

import { ARGUMENTS, chromium } from "../browser/chromium.mjs";

const ROUNDS = 5;
const PAGES = ["/", "/events", "/timeline", "/system"];
const [idle, ...programs] = process.argv.slice(2);
const boxes = programs.map((text) => text.split(/=(.*)/).slice(0, 2));

const browser = await chromium.launch({ executablePath: process.env.OUTPOST_CHROMIUM ?? "/usr/bin/chromium", args: ARGUMENTS });
const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

/** When something is painted first, after the page was asked for, in a browser that has nothing of it. */
async function firstPaint(url) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(url, { waitUntil: "load" });
  const paint = await page.evaluate(() => new Promise((resolve) => {
    const observer = new PerformanceObserver((list) => {
      const entry = list.getEntriesByName("first-contentful-paint")[0];
      if (entry) resolve(entry.startTime);
    });
    observer.observe({ type: "paint", buffered: true });
  }));
  await context.close();
  return paint;
}

/** Bytes a minute that come over the line while the page lies open. */
async function traffic(url, seconds) {
  const context = await browser.newContext();
  const page = await context.newPage();
  const session = await context.newCDPSession(page);
  await session.send("Network.enable");
  let bytes = 0;
  session.on("Network.dataReceived", ({ encodedDataLength, dataLength }) => { bytes += encodedDataLength || dataLength; });
  await page.goto(url, { waitUntil: "load" });
  // What the page asks for at first is not what it costs to lie open.
  await page.waitForTimeout(10_000);
  bytes = 0;
  await page.waitForTimeout(seconds * 1000);
  await context.close();
  return bytes * 60 / seconds;
}

try {
  const paints = new Map();
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const path of PAGES) {
      for (const [name, url] of boxes) {
        const key = `${path} ${name}`;
        paints.set(key, [...paints.get(key) ?? [], await firstPaint(url + path)]);
      }
    }
  }
  for (const path of PAGES) {
    const of = boxes.map(([name]) => median(paints.get(`${path} ${name}`)));
    const ratio = of.length === 2 ? `, ratio ${(of[0] / of[1]).toFixed(2)}` : "";
    console.log(`first paint of ${path}: ${boxes.map(([name], at) => `${name} ${of[at].toFixed(0)} ms`).join(", ")}${ratio}`);
  }
  for (const path of Number(idle) > 0 ? PAGES : []) {
    const of = await Promise.all(boxes.map(([, url]) => traffic(url + path, Number(idle))));
    console.log(`open page ${path}: ${boxes.map(([name], at) => `${name} ${(of[at] / 1000).toFixed(1)} KB a minute`).join(", ")}`);
  }
} finally {
  await browser.close();
}
