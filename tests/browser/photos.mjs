// Adds photos on the page of a running daemon as a person does, looks at them and says something of one; prints, as one
// JSON object, what was seen.
//
//   node photos.mjs BOX FILE…    OUTPOST_NODE_MODULES: folder with playwright-core and axe-core
//                                OUTPOST_SCREENSHOTS:  a folder for PNGs of the pages, if anywhere

import { openAsBlob } from "node:fs";
import process from "node:process";

import { acting, launch, makeObserver } from "./observer.mjs";

// A search that cannot be read, and a folder that may not be imported.
let isTrying = false;
const isAnswer = (status, page) => status === 400 && (isTrying || page.url().includes("on%3Ayesterday"));
const { seen, follow, look } = makeObserver({ fullPage: false, isAnswer });
const [box, ...files] = process.argv.slice(2);

const tiles = (page, n) => page.waitForFunction((wanted) => document.querySelectorAll("#gallery li").length === wanted, n);
const loaded = (page) => page.waitForFunction(() => [...document.querySelectorAll("#gallery img")].every((image) => image.complete && image.naturalWidth > 0));

async function workWithPhotos(page) {
  await page.goto(`${box}photos`);
  await page.waitForSelector("#no-photos:not([hidden])");
  await look(page, "photos-none");
  await page.setInputFiles("#files", files);
  await tiles(page, files.length);
  await loaded(page);
  seen.steps.shown = await page.locator("#gallery li").count();
  await look(page, "photos");

  await page.locator("#gallery button[aria-label^='giraffe.png']").click();
  await page.waitForFunction(() => document.querySelector("#photo-stage img")?.naturalWidth > 256);
  await page.fill("#photo-form [name=title]", "The giraffe");
  await page.fill("#photo-form [name=tags]", "zoo, tall, zoo");
  await page.click("#photo-form button[type=submit]");
  await page.waitForSelector("#photo-form .outcome:not([hidden])");
  seen.steps.titled = await page.textContent("#photo-title");
  await look(page, "photo");
  const name = () => page.textContent("#photo-title");
  const first = await name();
  await page.locator("#photo-title").click();
  await page.keyboard.press((await page.isEnabled("#photo-after")) ? "ArrowRight" : "ArrowLeft");
  await page.waitForFunction((before) => document.getElementById("photo-title").textContent !== before, first);
  await page.click("#photo-trash");
  await tiles(page, files.length - 1);
  seen.steps.left = await page.locator("#gallery li").count();
  await page.click("#trash");
  await tiles(page, 1);
  seen.steps.inTrash = await page.locator("#gallery li").count();
  await page.locator("#gallery button").first().click();
  await page.click("#photo-trash");
  await tiles(page, 0);
  await page.click("#trash");
  await tiles(page, files.length);
  seen.steps.restored = await page.locator("#gallery li").count();
}

/** Corrects when a photo was taken, takes that back, and shifts the time of two. */
async function correctTime(page) {
  const first = page.locator("#gallery button[aria-label^='eagle.png']");
  const time = () => page.inputValue("#photo-form [name=taken]");
  const saved = (text) => page.waitForFunction((wanted) => document.getElementById("photo-facts").textContent.includes(wanted), text);
  await first.click();
  const before = await time();
  await page.fill("#photo-form [name=taken]", "1999-12-31T23:30:05");
  await page.click("#photo-form button[type=submit]");
  await saved("set by a person");
  await page.waitForSelector("#photo-found:not([hidden])");
  await page.click("#photo-found");
  await page.waitForSelector("#photo-found", { state: "hidden" });
  seen.steps.takenBack = (await time()) === before;
  await page.fill("#photo-form [name=taken]", "1999-12-31T23:30:05");
  await page.click("#photo-form button[type=submit]");
  await saved("set by a person");
  await page.click("#photo-close");
  await page.click("#select");
  await first.click();
  const ask = async (text) => {
    page.once("dialog", (dialog) => dialog.accept(text));
    await page.click("#shift");
  };
  await ask("an hour");
  await page.waitForSelector("#selection .outcome:not([hidden])");
  seen.steps.noShift = await page.textContent("#selection .outcome");
  const days = () => page.locator("#gallery h2").allTextContents();
  const old = (await days()).join();
  await ask("+1:00");
  await page.waitForSelector("#selection", { state: "hidden" });
  await page.waitForFunction((shown) => [...document.querySelectorAll("#gallery h2")].map((day) => day.textContent).join() !== shown, old);
  await tiles(page, files.length);
  seen.steps.days = await days();
}

/** Imports a folder, and sees what became of its files. */
async function importFolder(page) {
  await page.click("#folders-open");
  await page.waitForFunction(() => document.getElementById("import-none").textContent !== "");
  isTrying = true;
  await page.fill("#import-form [name=path]", "/etc");
  await page.click("#import-form button[type=submit]");
  await page.waitForSelector("#import-form .outcome:not([hidden])");
  seen.steps.importRefused = await page.textContent("#import-form .outcome");
  isTrying = false;
  await page.fill("#import-form [name=path]", process.env.OUTPOST_CARD);
  await page.click("#import-form button[type=submit]");
  await page.waitForFunction(() => document.getElementById("imports").textContent.includes("done"));
  await page.click("#imports details summary");
  seen.steps.imported = await page.textContent("#imports li");
  await look(page, "photos-import");
  await page.locator("#imports li > p button").click();
  await page.waitForFunction(() => document.getElementById("imports").children.length === 0);
  await page.click("#folders .close");
}

/** Finds, marks, chooses several, and puts them into an album. */
async function findAndCollect(page) {
  const search = async (text, n) => {
    await page.fill("#search [name=q]", text);
    await page.press("#search [name=q]", "Enter");
    await tiles(page, n);
  };
  await search("tag:zoo", 1);
  seen.steps.found = await page.textContent("#found");
  await page.locator("#gallery button").first().click();
  await page.click("#photo-favorite");
  await page.waitForSelector('#photo-favorite[aria-pressed="true"]');
  await page.click("#photo-close");
  await search("nothing at all", 0);
  seen.steps.foundNone = await page.textContent("#no-photos");
  await search("on:yesterday", 0);
  await page.waitForFunction(() => document.getElementById("status").textContent.includes("2024"));
  seen.steps.wrong = await page.textContent("#status");
  await page.fill("#search [name=q]", "");
  await page.click("#favorites");
  await tiles(page, 1);
  seen.steps.favorite = await page.getAttribute("#gallery button", "aria-label");
  await page.click("#favorites");
  await tiles(page, files.length);

  await page.click("#select");
  await page.locator("#gallery button").nth(0).click();
  await page.locator("#gallery button").nth(2).click();
  seen.steps.selected = await page.textContent("#selected");
  await look(page, "photos-selected");
  page.once("dialog", (dialog) => dialog.accept("Best ones"));
  await acting(page, async () => {
    await page.selectOption("#into-album", "new");
    await page.waitForSelector("#albums button");
  });
  await look(page, "photos-albums");
  await page.click("#albums button");
  await tiles(page, 2);
  seen.steps.album = await page.textContent("#album-title");
  await page.click("#album-edit summary");
  await page.fill("#album-form [name=title]", "The best");
  await page.click("#album-form button[type=submit]");
  await page.waitForFunction(() => document.getElementById("album-title").textContent === "The best");
  await look(page, "photos-album");
  await shareAlbum(page);
  await page.reload();
  await tiles(page, 2);
  await page.waitForFunction(() => document.getElementById("album-title").textContent === "The best");
  page.once("dialog", (dialog) => dialog.accept());
  await page.click("#album-edit summary");
  await page.click("#album-delete");
  await tiles(page, files.length);
  const months = await page.locator("#jump option").count();
  await page.selectOption("#jump", { index: 1 });
  await tiles(page, files.length);
  seen.steps.months = months;
  await page.selectOption("#jump", { index: 0 });
}

/** Shares the album that is shown, and opens the link without a login, on a phone. */
async function shareAlbum(page) {
  await page.click("#album-share");
  await page.waitForSelector("#share[open]");
  await look(page, "photos-share");
  await page.click("#share-form button[type=submit]");
  await page.waitForSelector("#share-made:not([hidden])");
  const link = await page.inputValue("#share-link");
  await page.click("#share-close");
  const context = await page.context().browser().newContext({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
  const shared = follow(await context.newPage());
  await shared.goto(link);
  await shared.waitForFunction(() => [...document.querySelectorAll("#photos img")].filter((image) => image.naturalWidth > 0).length === 2);
  await shared.locator("#photos button").first().tap();
  await shared.waitForFunction(() => document.getElementById("picture").naturalWidth > 0);
  await look(shared, "shared-album");
  seen.steps.sharedAlbum = { title: await shared.textContent("#album-title"), saved: await shared.getAttribute("#download", "download") };
  await context.close();
}

/** Sees what a program adds, changes and deletes, while the page stays as it is. */
async function seeOthers(page) {
  const first = page.locator("#gallery button").first();
  await first.focus();
  await page.evaluate(() => (globalThis.stays = true));
  const body = new FormData();
  body.set("file", await openAsBlob(process.env.OUTPOST_ALIKE), "heron.jpg");
  const { photos } = await (await fetch(`${box}api/v1/photos`, { method: "POST", body })).json();
  await tiles(page, files.length + 1);
  await page.waitForSelector("#gallery button[aria-label^='heron.jpg']");
  const path = `${box}api/v1/photos/${photos[0].id}`;
  const headers = { "content-type": "application/json" };
  await fetch(path, { method: "PATCH", headers, body: JSON.stringify({ title: "A heron" }) });
  await page.waitForSelector("#gallery button[aria-label^='A heron']");
  await fetch(path, { method: "DELETE", headers });
  await tiles(page, files.length);
  await loaded(page);
  seen.steps.others = await page.evaluate(() => globalThis.stays && document.activeElement.closest("#gallery li") !== null);
  // A day that came and went moved what stands below it, as it should: what is looked at later is measured from its own start.
  await page.reload();
  await tiles(page, files.length);
  await loaded(page);
}

/** Puts one into the trash and deletes it for good. */
async function deleteOne(page) {
  await page.locator("#gallery button[aria-label^='eagle.png']").click();
  await page.click("#photo-trash");
  await tiles(page, files.length - 1);
  await page.click("#trash");
  await tiles(page, 1);
  await page.locator("#gallery button").first().click();
  page.once("dialog", (dialog) => dialog.accept());
  await page.click("#photo-delete");
  await tiles(page, 0);
  await page.click("#trash");
  await tiles(page, files.length - 1);
  seen.steps.deleted = true;
}

/** Adds a picture with a place, that looks like one that is there. Looks at the map, closer, and at the photos of a place. */
async function lookAtMap(page) {
  await page.setInputFiles("#files", process.env.OUTPOST_ALIKE);
  await tiles(page, files.length);
  await page.click("#map-open");
  await page.waitForSelector("#map-places li");
  await page.waitForSelector("#map-plot circle");
  await look(page, "photos-map");
  const inBox = () => new URL(page.url()).searchParams.get("q");
  for (let closer = 0; closer < 5 && !inBox(); closer += 1) {
    const before = await page.textContent("#map-places b");
    await page.locator("#map-places button").first().click();
    await page.waitForFunction((was) => location.search !== "" || document.querySelector("#map-places b")?.textContent !== was, before);
  }
  await tiles(page, 1);
  seen.steps.near = inBox();
  await page.fill("#search [name=q]", "");
  await page.press("#search [name=q]", "Enter");
  await tiles(page, files.length);
}

/** Keeps one of two that look alike. */
async function mergeAlike(page) {
  await page.click("#similar-open");
  await page.waitForSelector("#similar-groups > li");
  await loaded(page);
  seen.steps.alike = await page.locator("#similar-groups > li").count();
  await look(page, "photos-similar");
  await page.locator("#similar-groups > li > button").click();
  await tiles(page, files.length - 1);
  await page.click("#similar .close");
}

async function onAPhone(browser) {
  const context = await browser.newContext({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, colorScheme: "dark", locale: "ja-JP" });
  const page = follow(await context.newPage());
  await page.goto(`${box}photos`);
  await tiles(page, files.length);
  await loaded(page);
  await look(page, "photos-phone");
  await page.locator("#gallery button").first().tap();
  await page.waitForFunction(() => document.querySelector("#photo-stage img")?.naturalWidth > 0);
  await look(page, "photo-phone");
  seen.steps.wide = await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);
}

const browser = await launch();
try {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = follow(await context.newPage());
  await workWithPhotos(page);
  await findAndCollect(page);
  await correctTime(page);
  await importFolder(page);
  await seeOthers(page);
  await onAPhone(browser);
  await deleteOne(page);
  await lookAtMap(page);
  await mergeAlike(page);
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
