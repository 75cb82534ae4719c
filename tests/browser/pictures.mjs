// Starts a box whose cameras are films, waits until it has something to show, and takes the pictures of the documentation:
// `make pictures`. Every page in light, in dark on a phone, and in Japanese, with ALL.
//
//   node pictures.mjs PROGRAM FOLDER [ALL]   OUTPOST_NODE_MODULES: folder with playwright-core
//                                            OUTPOST_CHROMIUM:     the browser, /usr/bin/chromium by default
//
// ffmpeg gives the pictures few colours: so they are small.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

import { ARGUMENTS, chromium } from "./chromium.mjs";

const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url));
const FILMS = path.join(REPOSITORY, "tests/fixtures");
const EVENTS = 9;

const DESKTOP = { viewport: { width: 1180, height: 860 }, locale: "en-GB", timezoneId: "UTC" };
const PHONE = { viewport: { width: 390, height: 844 }, locale: "en-GB", timezoneId: "UTC", hasTouch: true, isMobile: true };
const DARK = { colorScheme: "dark" };
const JAPANESE = { locale: "ja-JP" };

/** By the page: its address, and what shows that it has what it is for. */
const PAGES = (event) => ({
  overview: ["/", ".camera .picture img"],
  events: ["/events", "#list .entry img"],
  event: [`/events/${event}`, ".one-event:not([hidden])"],
  timeline: ["/timeline?span=600", "#tl:not([hidden])"],
  cameras: ["/cameras", "#cameras li"],
  zones: ["/cameras#gate", "#shapes li"],
  models: ["/models", "#models li"],
  photos: ["/photos?events", "#gallery img"],
  system: ["/system", "#log li"],
  people: ["/people", "#users"],
  audit: ["/audit", "#entries"],
  account: ["/account", "#no-account"],
});

/** Those of the documentation: the file, the page, how it is looked at, and what is done there first. */
const DOCUMENTED = [
  ["page.png", "overview", DESKTOP],
  ["page-events-dark.png", "events", { ...DESKTOP, ...DARK }],
  ["page-timeline.png", "timeline", DESKTOP],
  ["page-photos.png", "photos", DESKTOP],
  ["page-zones.png", "zones", DESKTOP],
  ["page-phone.png", "overview", PHONE],
  ["page-phone-dark.png", "event", { ...PHONE, ...DARK }],
  ["page-japanese.png", "overview", { ...DESKTOP, ...JAPANESE }],
];

function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

function config(folder, port) {
  const camera = (name, film, lines) => `[camera.${name}.source]\nurl = "replay:${path.join(FILMS, film)}"\nrepeat = true\n${lines}\n`;
  return `[device]\nid = "farm-7"\nsite = "North gate"\n[storage]\npath = "${folder}/box"\n[archive]\ntime_hold = "0s"
[web]\nlisten = "127.0.0.1:${port}"\n[infer]\nmodel_dir = "${path.join(REPOSITORY, "models")}"
[upload.cloud]\nurl = "file://${folder}/cloud"\n
${camera("gate", "people.mp4", `[camera.gate.detect]\nlabels = ["person"]\n[camera.gate.record]\npost_roll = "2s"
[camera.gate.zones.drive]\npoints = [[0.02, 0.5], [0.62, 0.34], [0.98, 0.62], [0.98, 0.98], [0.02, 0.98]]
[[camera.gate.rules]]\nname = "on the drive"\nwhen = "enter"\nzone = "drive"`)}
${camera("road", "people.mp4", `[camera.road.detect]\nlabels = ["person"]\n[camera.road.record]\nmode = "continuous"\nsegment = "10s"`)}
${camera("orchard", "leaves.mp4", `[camera.orchard.detect]\nlabels = ["person"]\n[camera.orchard.record]\nmode = "continuous"\nsegment = "10s"`)}`;
}

/** The answer of the box, as soon as it is as wanted. */
async function until(url, isSo) {
  for (;;) {
    const answer = await fetch(url).then((answer) => answer.json()).catch(() => null);
    if (answer && isSo(answer)) return answer;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/** Gives the box some photos, taken on several days. */
async function addPhotos(box) {
  for (const [at, name] of ["giraffe", "eagle", "dog", "person"].entries()) {
    const form = new FormData();
    form.append("file_date", `2026-11-${21 + 2 * Math.floor(at / 2)}T1${at}:30:00`);
    form.append("file", new Blob([readFileSync(path.join(FILMS, `pictures/${name}.jpg`))]), `${name}.jpg`);
    await fetch(`${box}/api/v1/photos`, { method: "POST", body: form });
  }
}

async function take(browser, box, [address, selector], how, file) {
  const page = await (await browser.newContext(how)).newPage();
  await page.goto(box + address);
  await page.locator(selector).first().waitFor({ state: "attached" });
  await page.waitForFunction(() => [...document.images].every((image) => image.hidden || image.loading === "lazy" || image.complete));
  // What comes after the first answer: live boxes, strips, previews.
  await page.waitForTimeout(2500);
  const large = `${file}.large.png`;
  await page.screenshot({ path: large, fullPage: process.argv[4] === "ALL" });
  execFileSync("ffmpeg", ["-v", "error", "-y", "-i", large, "-vf", "split[a][b];[a]palettegen=max_colors=128[p];[b][p]paletteuse=dither=none", "-frames:v", "1", file]);
  rmSync(large);
  await page.context().close();
}

async function main(program, folder, all) {
  const scratch = mkdtempSync(path.join(os.tmpdir(), "outpost-pictures-"));
  const port = await freePort();
  const box = `http://127.0.0.1:${port}`;
  writeFileSync(path.join(scratch, "outpost.toml"), config(scratch, port));
  const daemon = spawn(program, ["run", "--config", path.join(scratch, "outpost.toml")], { stdio: "ignore" });
  const browser = await chromium.launch({ executablePath: process.env.OUTPOST_CHROMIUM ?? "/usr/bin/chromium", args: ARGUMENTS });
  try {
    const { events } = await until(`${box}/api/v1/events?state=ended&camera=gate`, ({ events }) => events.length >= EVENTS);
    await addPhotos(box);
    const pages = PAGES(events[0].event.id);
    if (all) {
      for (const name of Object.keys(pages)) {
        await take(browser, box, pages[name], DESKTOP, path.join(folder, `${name}.png`));
        await take(browser, box, pages[name], { ...DESKTOP, ...DARK }, path.join(folder, `${name}-dark.png`));
        await take(browser, box, pages[name], { ...PHONE, ...DARK }, path.join(folder, `${name}-phone.png`));
        await take(browser, box, pages[name], { ...PHONE, ...JAPANESE }, path.join(folder, `${name}-japanese.png`));
      }
    } else {
      for (const [file, name, how] of DOCUMENTED) await take(browser, box, pages[name], how, path.join(folder, file));
    }
  } finally {
    await browser.close();
    daemon.kill("SIGTERM");
    await new Promise((resolve) => daemon.once("exit", resolve));
    rmSync(scratch, { recursive: true, force: true });
  }
}

await main(...process.argv.slice(2));
