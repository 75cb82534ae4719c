// Looks at live views as people do. Reads one command a line from standard input, "PAGE WORD ARGUMENT", and answers each
// with one line of JSON; PAGE is the number of a tab, which is opened when it is first named.
//
//   node live.mjs URL            OUTPOST_NODE_MODULES: folder with playwright-core
//                                OUTPOST_CHROMIUM:     the browser, /usr/bin/chromium by default

import fs from "node:fs/promises";
import process from "node:process";
import readline from "node:readline";

import { ARGUMENTS, PATIENCE_MS, chromium } from "./chromium.mjs";

const url = process.argv[2];
const browser = await chromium.launch({ executablePath: process.env.OUTPOST_CHROMIUM ?? "/usr/bin/chromium", args: ARGUMENTS });
const pages = new Map();
const errors = [];

async function tab(number) {
  if (pages.has(number)) return pages.get(number);
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, acceptDownloads: true });
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") errors.push(message.text());
  });
  page.on("pageerror", (error) => errors.push(String(error)));
  pages.set(number, page);
  await page.goto(url, { waitUntil: "load", timeout: PATIENCE_MS });
  return page;
}

const views = () =>
  [...document.querySelectorAll("#live[open], .camera")].map((view) => {
    const video = view.querySelector("video");
    const image = view.querySelector("img.live-picture:not([hidden])");
    return {
      camera: view.dataset.camera ?? "dialog",
      state: view.dataset.live ?? "",
      says: view.querySelector(".live-state:not([hidden])")?.textContent ?? "",
      time: video?.currentTime ?? null,
      size: video ? [video.videoWidth, video.videoHeight] : null,
      picture: image ? [image.naturalWidth, image.naturalHeight] : null,
      objects: view.querySelector("canvas")?.dataset.objects ?? null,
      why: view.querySelector(".live-why:not([hidden])")?.textContent ?? "",
      canOpen: view.querySelector(".live-open")?.disabled === false,
    };
  });

const COMMANDS = {
  look: (page) => page.evaluate(views),
  grid: (page) => page.click(".live-toggle"),
  open: async (page, camera) => {
    await page.focus(`.camera[data-camera="${camera}"] .live-open`);
    await page.keyboard.press("Enter");
  },
  close: async (page) => {
    await page.keyboard.press("Escape");
    return page.evaluate(() => document.activeElement?.closest(".camera")?.dataset.camera ?? null);
  },
  // A tab cannot be hidden from outside; what the page asks for is.
  hidden: (page, value) =>
    page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
      document.dispatchEvent(new Event("visibilitychange"));
    }, value === "true"),
  snapshot: async (page) => {
    const coming = page.waitForEvent("download", { timeout: PATIENCE_MS });
    await page.click("#live .button:text('Snapshot')");
    const download = await coming;
    const bytes = await fs.readFile(await download.path());
    return { name: download.suggestedFilename(), bytes: bytes.length, begins: bytes.subarray(0, 3).toString("hex") };
  },
  errors: () => errors,
};

const lines = readline.createInterface({ input: process.stdin });
for await (const line of lines) {
  const [number, word, ...rest] = line.split(" ");
  try {
    const answer = await COMMANDS[word](await tab(number), rest.join(" "));
    console.log(JSON.stringify({ answer: answer ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ failed: error.message.split("\n")[0] }));
  }
}
await browser.close();
