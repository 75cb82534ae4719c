// Adds a camera by trying it, draws a zone with mouse and keyboard, makes a rule of it and saves, as a person would; prints
// as one JSON object what happened.
//
//   node setup.mjs PAGE RTSP     PAGE: the box's page, RTSP: the address of a camera with its login
//                                OUTPOST_NODE_MODULES, OUTPOST_SCREENSHOTS: as for access.mjs

import process from "node:process";

import { PATIENCE_MS } from "./chromium.mjs";
import { launch, makeObserver } from "./observer.mjs";

const { seen, follow, look } = makeObserver({ isAnswer: (status) => [412, 422, 503].includes(status) });

const points = async (page) => (await page.inputValue("#shape-points")).trim().split("\n");

/** Where the picture is, at the top of the window: what is saved stands at its lower end. */
async function canvasOf(page) {
  await page.locator("#canvas").evaluate((canvas) => canvas.scrollIntoView({ block: "start", behavior: "instant" }));
  return page.locator("#canvas").boundingBox();
}

/** Clicks on the picture, at shares of it. */
async function clickAt(page, x, y) {
  const box = await canvasOf(page);
  await page.mouse.click(box.x + x * box.width, box.y + y * box.height);
}

/** Saves, and waits until it is known what became of it. */
async function save(page) {
  await page.click("#save");
  await page.waitForFunction(() => /Saved|Undone/.test(document.getElementById("save-outcome").textContent), null, { timeout: PATIENCE_MS * 3 });
  return page.textContent("#save-outcome");
}

async function addByProbe(page, address) {
  await page.waitForSelector("#cameras li");
  const { host, pathname, username, password } = new URL(address.replace("rtsp:", "http:"));
  await page.fill("#add-url", `rtsp://${host}${pathname}`);
  await page.fill("#add-user", username);
  await page.fill("#add-password", "wrong");
  await page.click("#try");
  await page.waitForSelector("#add-form .outcome.bad:not([hidden])");
  seen.steps.wrong = await page.textContent("#add-form .outcome");
  await page.fill("#add-password", password);
  await page.click("#try");
  await page.waitForSelector("#tried:not([hidden])");
  seen.steps.tried = await page.textContent("#tried-text");
  seen.steps.picture = await page.evaluate(() => document.getElementById("tried-picture").decode().then(() => document.getElementById("tried-picture").naturalWidth));
  await look(page, "setup-add");
  await page.fill("#add-name", "pier");
  await page.click("#add-form button[type=submit]");
  await page.waitForFunction(() => /Saved/.test(document.getElementById("outcome").textContent), null, { timeout: PATIENCE_MS * 3 });
  await page.waitForSelector("#cameras a[href='#pier']");
}

async function draw(page) {
  await page.waitForFunction(() => document.getElementById("still").naturalWidth > 0);
  await page.click("[data-tool=zone]");
  await clickAt(page, 0.002, 0.2);
  await clickAt(page, 0.6, 0.2);
  await clickAt(page, 0.6, 0.9);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#shape-form:not([hidden])");
  seen.steps.drawn = await points(page);
  // A point is dragged, and undone and done again by the keyboard.
  const box = await canvasOf(page);
  await page.mouse.move(box.x + 0.6 * box.width, box.y + 0.9 * box.height);
  await page.mouse.down();
  await page.mouse.move(box.x + 0.5 * box.width, box.y + 0.8 * box.height, { steps: 4 });
  await page.mouse.up();
  seen.steps.dragged = await points(page);
  await page.keyboard.press("Control+z");
  seen.steps.undone = await points(page);
  await page.keyboard.press("Control+Shift+Z");
  seen.steps.redone = await points(page);
  await page.keyboard.press("Meta+z");
  seen.steps.undoneOnAMac = await points(page);
  await page.keyboard.press("Meta+Shift+Z");
  // By the keyboard alone.
  await page.locator(".handle.corner").nth(2).focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Shift+ArrowDown");
  seen.steps.moved = await points(page);
  await page.keyboard.press("Delete");
  seen.steps.kept = await points(page);
  await page.locator(".handle.middle").nth(1).focus();
  await page.keyboard.press("Enter");
  seen.steps.added = (await points(page)).length;
  await page.keyboard.press("Delete");
  seen.steps.deleted = (await points(page)).length;
  await page.fill("#shape-name", "water");
  await page.locator("#shape-name").press("Tab");
  await page.fill("#shape-points", "0, 0\n1, 0\n1, 1\n0, 1");
  await page.locator("#shape-points").press("Tab");
  await page.waitForSelector("#shapes button:has-text('water')");
}

async function rule(page) {
  await page.click("#rule-add");
  const rule = page.locator(".rule");
  await rule.locator("input").first().fill("at-the-water");
  await rule.locator("select").first().selectOption("enter");
  await page.locator(".rule .chips button", { hasText: "water" }).click();
}

/** Edits while a change is confirmed, and is asked before that is left. */
async function editMeanwhile(page) {
  await page.fill("#url", "rtsp://127.0.0.1:9/none");
  await page.click("#save");
  await page.waitForFunction(() => document.getElementById("save-outcome").textContent.includes("waiting"));
  await page.fill("#pre", "7s");
  await page.waitForFunction(() => document.getElementById("save-outcome").textContent.includes("Undone"), null, { timeout: PATIENCE_MS * 3 });
  const [dialog] = await Promise.all([page.waitForEvent("dialog"), page.evaluate(() => setTimeout(() => history.back()))]);
  await dialog.dismiss();
  await page.waitForFunction(() => location.hash === "#pier");
  seen.steps.meanwhile = [await page.inputValue("#pre"), await page.isVisible("#one")];
}

async function main(url, address) {
  const browser = await launch();
  try {
    const page = follow(await (await browser.newContext({ viewport: { width: 1280, height: 900 } })).newPage());
    await page.goto(url);
    await page.click("#nav a[href='/cameras']");
    await addByProbe(page, address);
    await page.click("#cameras a[href='#pier']");
    await page.waitForSelector("#one:not([hidden])");
    await page.waitForFunction(() => document.getElementById("url").value !== "");
    seen.steps.url = await page.inputValue("#url");
    await draw(page);
    await rule(page);
    await page.click("#backtest");
    await page.waitForFunction(() => /Would have made|Could not be tried/.test(document.getElementById("backtest-outcome").textContent), null, { timeout: PATIENCE_MS * 3 });
    seen.steps.backtest = await page.textContent("#backtest-outcome");
    await look(page, "setup-draw");
    seen.steps.saved = await save(page);
    await look(page, "setup-saved");
    // What makes the camera go away is undone, and the page says so.
    await page.fill("#url", "rtsp://127.0.0.1:9/none");
    seen.steps.hint = await page.textContent("#save-hint");
    seen.steps.undoneByItself = await save(page);
    seen.steps.urlAgain = await page.inputValue("#url");
    await editMeanwhile(page);

    const phone = { viewport: { width: 390, height: 844 }, colorScheme: "dark", hasTouch: true, locale: "ja-JP" };
    const other = follow(await (await browser.newContext(phone)).newPage());
    await other.goto(`${url}cameras#pier`);
    await other.waitForSelector("#shapes button");
    await look(other, "setup-phone-japanese");
    await other.tap("[data-tool=line]");
    const box = await canvasOf(other);
    await other.touchscreen.tap(box.x + 0.3 * box.width, box.y + 0.5 * box.height);
    await other.touchscreen.tap(box.x + 0.7 * box.width, box.y + 0.5 * box.height);
    await other.waitForSelector("#shapes li:nth-child(2)");
    seen.steps.touched = (await points(other)).length;
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify(seen));
}

await main(process.argv[2], process.argv[3]);
