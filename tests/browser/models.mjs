// Has a model measured, and shows it pictures, as a person would: by the keyboard, on a desktop and on a phone; prints as one
// JSON object what happened.
//
//   node models.mjs PAGE PICTURE TEXT   PAGE: the box's page, PICTURE: a JPEG with a person, TEXT: a file that is no picture
//                                       OUTPOST_NODE_MODULES, OUTPOST_SCREENSHOTS: as for access.mjs

import process from "node:process";

import { PATIENCE_MS } from "./chromium.mjs";
import { launch, makeObserver } from "./observer.mjs";

const { seen, follow, look } = makeObserver({ isAnswer: (status) => [422, 503].includes(status) });

const found = (page) => page.locator("#found li").allTextContents();
const isWide = (page) => page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth);

async function main(url, picture, text) {
  const browser = await launch();
  try {
    const page = follow(await (await browser.newContext({ viewport: { width: 1280, height: 900 } })).newPage());
    await page.goto(url);
    await page.click("#nav a[href='/models']");
    await page.waitForSelector("#models li");
    await page.locator("#models button").first().focus();
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => /last \d+ run/.test(document.getElementById("models").textContent), null, { timeout: PATIENCE_MS * 3 });
    await page.waitForSelector("#models button:not([disabled])", { timeout: PATIENCE_MS * 3 });
    seen.steps.card = await page.textContent("#models li");
    await page.setInputFiles("#picture", text);
    await page.waitForSelector("#try-outcome.bad:not([hidden])", { timeout: PATIENCE_MS * 3 });
    seen.steps.refused = await page.textContent("#try-outcome");
    await page.setInputFiles("#picture", picture);
    await page.waitForSelector("#tried:not([hidden])", { timeout: PATIENCE_MS * 3 });
    seen.steps.found = await found(page);
    seen.steps.said = await page.textContent("#tried-text");
    seen.steps.boxes = await page.locator("#boxes rect:not(.under)").count();
    await look(page, "models");
    await page.locator("#score").focus();
    await page.keyboard.press("End");
    seen.steps.best = await found(page);
    await page.keyboard.press("Home");
    seen.steps.all = await found(page);

    const phone = { viewport: { width: 390, height: 844 }, colorScheme: "dark", hasTouch: true, locale: "ja-JP" };
    const other = follow(await (await browser.newContext(phone)).newPage());
    await other.goto(`${url}models`);
    await other.waitForSelector("#models li");
    await other.setInputFiles("#picture", picture);
    await other.waitForSelector("#tried:not([hidden])", { timeout: PATIENCE_MS * 3 });
    await look(other, "models-phone-japanese");
    seen.steps.wide = await isWide(other);
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify(seen));
}

await main(process.argv[2], process.argv[3], process.argv[4]);
