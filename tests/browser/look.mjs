// Opens the page of a running daemon as a person would and prints, as one JSON object, what happened:
// console errors, failed answers, every address asked for, the pictures with their sizes.
//
//   node look.mjs URL            OUTPOST_NODE_MODULES: folder with playwright-core
//                                OUTPOST_SCREENSHOT:   where to write a PNG, if anywhere
//                                OUTPOST_CHROMIUM:     the browser, /usr/bin/chromium by default

import process from "node:process";

import { ARGUMENTS, PATIENCE_MS, chromium } from "./chromium.mjs";

// Every thumbnail of the page has arrived, and there is at least one; every camera has its last day, and a picture if it
// gave some before: also a film that was played to its end. Gives what is seen at that moment: a page with a live stream goes on changing.
const everythingShown = () => {
  const thumbnails = [...document.images].filter((image) => image.src.includes("thumb"));
  // Those further down load when they come into sight; here they are wanted at once.
  for (const image of thumbnails) image.loading = "eager";
  const days = [...document.querySelectorAll(".strip-words")];
  const past = [...document.querySelectorAll('[data-picture="past"], [data-state="finished"]')];
  if (!past.every((card) => card.querySelector("img")?.complete)) return false;
  if (!thumbnails.length || !thumbnails.every((image) => image.complete) || !days.every((words) => words.textContent !== "")) return false;
  const images = [...document.images].map((image) => ({ src: image.src, width: image.naturalWidth, height: image.naturalHeight }));
  return { images, text: document.body.innerText };
};

async function look(url) {
  const browser = await chromium.launch({
    executablePath: process.env.OUTPOST_CHROMIUM ?? "/usr/bin/chromium",
    args: ARGUMENTS,
  });
  const seen = { url, title: "", errors: [], failed: [], requests: [], images: [], text: "" };
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") seen.errors.push(message.text());
    });
    page.on("pageerror", (error) => seen.errors.push(String(error)));
    page.on("request", (request) => seen.requests.push(request.url()));
    page.on("response", (response) => {
      if (response.status() >= 400) seen.failed.push(`${response.status()} ${response.url()}`);
    });
    // Not "networkidle": a page with a live stream is never idle.
    await page.goto(url, { waitUntil: "load", timeout: PATIENCE_MS });
    const shown = await page.waitForFunction(everythingShown, undefined, { timeout: PATIENCE_MS }).catch((error) => {
      seen.failed.push(`thumbnails or coverage: ${error.message.split("\n")[0]}`);
    });
    seen.title = await page.title();
    Object.assign(seen, await shown?.jsonValue());
    if (process.env.OUTPOST_SCREENSHOT) await page.screenshot({ path: process.env.OUTPOST_SCREENSHOT });
  } finally {
    await browser.close();
  }
  return seen;
}

console.log(JSON.stringify(await look(process.argv[2])));
