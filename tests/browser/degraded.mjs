// Opens every page of a box on which something is wrong, and prints as one JSON object what they say: the overview's level,
// sentence and concerns, and the text of each page.
//
//   node degraded.mjs PAGE NAME  PAGE: the box's page, which is waited for; NAME: of what is wrong, for screenshots
//                                OUTPOST_NODE_MODULES, OUTPOST_SCREENSHOTS: as for access.mjs

import process from "node:process";

import { PATIENCE_MS } from "./chromium.mjs";
import { launch, makeObserver } from "./observer.mjs";

const { seen, follow, look } = makeObserver({ isAnswer: (status) => status === 503 });

/** What is on each page once it shows what it has. */
const PAGES = {
  events: "#list .entry, #no-events:not([hidden])",
  timeline: "#tl:not([hidden]), #tl-problem:not([hidden])",
  cameras: "#cameras li, #none:not([hidden])",
  models: "#models li, #no-models:not([hidden])",
  system: "#parts tr",
};

/** Opens the page as soon as there is one. */
async function open(page, url) {
  const until = Date.now() + PATIENCE_MS * 3;
  for (;;) {
    try {
      return await page.goto(url);
    } catch (error) {
      if (Date.now() > until) throw error;
      await page.waitForTimeout(100);
    }
  }
}

async function main(url, name) {
  const browser = await launch();
  try {
    const page = follow(await (await browser.newContext({ viewport: { width: 1280, height: 900 } })).newPage());
    await open(page, url);
    seen.errors.length = 0; // of the time before there was a page
    await page.waitForSelector("#concerns li");
    seen.steps.level = await page.getAttribute("#summary", "data-level");
    seen.steps.headline = await page.textContent("#summary-text");
    seen.steps.concerns = await page.locator("#concerns .concern-text").allTextContents();
    seen.steps.first = await page.getAttribute("#concerns li", "data-level");
    seen.steps.top = await page.locator("#concerns").evaluate((list) => list.getBoundingClientRect().bottom < innerHeight);
    await look(page, `degraded-${name}`);
    for (const [path, shown] of Object.entries(PAGES)) {
      await page.goto(`${url}${path}`);
      await page.waitForSelector(shown).catch((error) => (seen.steps[`${path}-missing`] = error.message.split("\n")[0]));
      if (path === "events" && name === "spool") await page.waitForFunction(() => /back/.test(document.getElementById("status").textContent));
      seen.steps[path] = (await page.innerText("main")).slice(0, 4000);
      await look(page, `degraded-${name}-${path}`);
    }
    const japanese = follow(await (await browser.newContext({ viewport: { width: 390, height: 844 }, locale: "ja-JP", colorScheme: "dark" })).newPage());
    await japanese.goto(url);
    await japanese.waitForSelector("#concerns li");
    seen.steps.japanese = await japanese.locator("#concerns .concern-text").allTextContents();
    await look(japanese, `degraded-${name}-japanese`);
    seen.steps.wide = await japanese.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth);
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify(seen));
}

await main(process.argv[2], process.argv[3]);
