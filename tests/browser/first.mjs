// Opens the page of a box without cameras, follows it to the first one, adds that, and sees it recorded; prints as one JSON
// object what happened.
//
//   node first.mjs PAGE RTSP     PAGE: the box's page, RTSP: the address of a camera
//                                OUTPOST_NODE_MODULES, OUTPOST_SCREENSHOTS: as for access.mjs

import process from "node:process";

import { PATIENCE_MS } from "./chromium.mjs";
import { launch, makeObserver } from "./observer.mjs";

const { seen, follow, look } = makeObserver({ isAnswer: (status) => status === 503 });

async function main(url, address) {
  const browser = await launch();
  try {
    const page = follow(await (await browser.newContext({ viewport: { width: 390, height: 844 } })).newPage());
    await page.goto(url);
    await page.waitForSelector("#concerns a");
    seen.steps.headline = await page.textContent("#summary-text");
    seen.steps.empty = await page.textContent("#no-cameras");
    await look(page, "first-overview");
    await page.locator("#concerns a").focus();
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.activeElement?.id === "add-url");
    seen.steps.none = await page.textContent("#none");
    await look(page, "first-cameras");
    await page.keyboard.type(address);
    await page.fill("#add-name", "yard");
    await page.click("#add-form button[type=submit]");
    await page.waitForSelector("#cameras a[href='#yard']", { timeout: PATIENCE_MS * 3 });
    await page.waitForFunction(() => /Saved/.test(document.getElementById("outcome").textContent), null, { timeout: PATIENCE_MS * 3 });
    seen.steps.noneLater = await page.isVisible("#none");
    await page.goto(url);
    await page.waitForSelector("li.camera[data-state=online]", { timeout: PATIENCE_MS * 3 });
    await page.waitForFunction(() => /recording/.test(document.getElementById("summary-text").textContent));
    seen.steps.recording = await page.textContent("#summary-text");
    await look(page, "first-recording");
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify(seen));
}

await main(process.argv[2], process.argv[3]);
