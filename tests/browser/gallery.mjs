// Goes through a library of thousands of photos on the page of a running daemon: down, to a month, to the end and back; prints,
// as one JSON object, what was seen.
//
//   node gallery.mjs BOX    OUTPOST_NODE_MODULES: folder with playwright-core and axe-core
//                           OUTPOST_SCREENSHOTS:  a folder for PNGs of the pages, if anywhere

import process from "node:process";

import { launch, makeObserver } from "./observer.mjs";

// The photos have thumbnails and no originals.
const isAnswer = (status) => status === 404;
const { seen, follow, look } = makeObserver({ fullPage: false, isAnswer });
const [box] = process.argv.slice(2);

/** The names of what is on the screen, once all of it is loaded. */
async function inSight(page) {
  const loaded = () => {
    const isSeen = (node) => node.getBoundingClientRect().bottom > 0 && node.getBoundingClientRect().top < innerHeight;
    const tiles = [...document.querySelectorAll("#gallery li")].filter(isSeen);
    return tiles.length > 0 && tiles.every((tile) => tile.querySelector("img")?.naturalWidth > 0) && tiles.map((tile) => (tile.querySelector("button") ?? tile.querySelector("a")).getAttribute("aria-label"));
  };
  return (await page.waitForFunction(loaded)).jsonValue();
}

const lists = () => seen.requests.filter((url) => /\/photos\?|\/search\?/.test(url)).length;
const drawn = (page) => page.evaluate(() => document.querySelectorAll("#gallery li").length);

const browser = await launch();
try {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, timezoneId: "UTC", locale: "en-GB" });
  const page = follow(await context.newPage());
  await page.goto(`${box}photos`);
  const { steps } = seen;
  steps.newest = (await inSight(page))[0];
  steps.height = await page.evaluate(() => document.getElementById("gallery").offsetHeight);
  await look(page, "gallery");

  // To a month in the middle.
  await page.selectOption("#jump", "2024-06");
  await page.waitForFunction(() => scrollY > 1000);
  steps.june = (await inSight(page))[0];
  steps.heading = await page.evaluate(() => [...document.querySelectorAll("#gallery h2")].find((day) => day.getBoundingClientRect().bottom > 0).textContent);
  await look(page, "gallery-june");

  // To the end, and into the photo there; then to the next newer one, and back to where it was.
  await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
  const oldest = await inSight(page);
  steps.oldest = oldest.at(-1);
  await page.locator("#gallery button").last().click();
  steps.afterLast = await page.isEnabled("#photo-after");
  await page.keyboard.press("ArrowLeft");
  await page.waitForFunction((first) => !first.startsWith(document.getElementById("photo-title").textContent), steps.oldest);
  await page.click("#photo-close");

  // Through all of it, a screen at a time.
  steps.most = 0;
  for (let at = 0; at < 40; at += 1) {
    await page.mouse.wheel(0, -700);
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    steps.most = Math.max(steps.most, await drawn(page));
  }
  await inSight(page);
  await page.selectOption("#jump", "");
  await page.waitForFunction(() => scrollY < 700);
  steps.again = (await inSight(page))[0];
  steps.lists = lists();

  // What is deleted is gone, and what follows moves up.
  const second = (await inSight(page))[1];
  await page.locator("#gallery button").first().click();
  await page.click("#photo-trash");
  await page.waitForFunction((label) => document.querySelector("#gallery button").getAttribute("aria-label") === label, second);
  steps.movedUp = true;

  // Words next to each other cannot be counted beforehand: the list grows.
  await page.fill("#search [name=q]", '"grey heron"');
  await page.press("#search [name=q]", "Enter");
  await page.waitForFunction((all) => document.getElementById("gallery").offsetHeight < all / 2, steps.height);
  await inSight(page);
  for (let at = 0; at < 12; at += 1) {
    await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
    await inSight(page);
  }
  steps.grown = await page.evaluate(() => document.getElementById("gallery").offsetHeight);
  steps.herons = (await inSight(page)).at(-1);

  // Events of cameras among the photos.
  await page.fill("#search [name=q]", "type:event");
  await page.click("#with-events");
  await page.waitForSelector("#gallery a[href^='/events/']");
  steps.event = (await inSight(page))[0];
  await look(page, "gallery-events");
  await page.locator("#gallery a").first().click();
  await page.waitForURL(/\/events\/[0-9A-Z]{26}/);

  const phone = await browser.newContext({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, colorScheme: "dark", timezoneId: "UTC", locale: "en-GB" });
  const small = follow(await phone.newPage());
  await small.goto(`${box}photos`);
  await inSight(small);
  await small.selectOption("#jump", "2024-06");
  await small.waitForFunction(() => scrollY > 1000);
  steps.onPhone = (await inSight(small))[0];
  await look(small, "gallery-phone");
} finally {
  await browser.close();
}
seen.requests = [];
console.log(JSON.stringify(seen));
