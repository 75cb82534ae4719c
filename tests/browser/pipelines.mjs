// Draws a pipeline of five blocks, by pointer and keyboard, tries it on a picture, saves it, sends the picture through it;
// prints as one JSON object what happened.
//
//   node pipelines.mjs PAGE PICTURE TEXT   PAGE: the box's page, PICTURE: a JPEG with a person, TEXT: a file that is no picture
//                                          OUTPOST_NODE_MODULES, OUTPOST_SCREENSHOTS: as for access.mjs

import process from "node:process";

import { PATIENCE_MS } from "./chromium.mjs";
import { launch, makeObserver } from "./observer.mjs";

const { seen, follow, look } = makeObserver({ isAnswer: (status) => [404, 412, 422, 503].includes(status) });
const LONG = { timeout: PATIENCE_MS * 3 };

const node = (page, id) => page.locator(`#graph [data-step="${id}"]`);
const labels = async (page) => page.locator("#graph [data-step]").evaluateAll((nodes) => nodes.map((found) => found.getAttribute("aria-label")));
const isWide = (page) => page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth);

async function centre(locator) {
  const { x, y, width, height } = await locator.boundingBox();
  return [x + width / 2, y + height / 2];
}

async function drag(page, from, to) {
  await page.mouse.move(...from);
  await page.mouse.down();
  await page.mouse.move((from[0] + to[0]) / 2, (from[1] + to[1]) / 2);
  await page.mouse.move(...to);
  await page.mouse.up();
}

/** The port of an input or output by its place in the node. */
const port = (page, id, at) => node(page, id).locator(".pl-port").nth(at);

async function draws(page) {
  await page.getByRole("button", { name: "New", exact: true }).click();
  for (const block of ["detect@1", "crop_objects@1", "filter@1", "count@1", "draw@1"]) {
    await page.selectOption("#palette", block);
    await node(page, block.split("@")[0]).waitFor();
  }
  seen.steps.drawn = await page.locator("#graph [data-step]").count();
  // By the pointer: from the filter's things to the input of the count, which had those of the detector.
  const [from, to] = [await centre(port(page, "filter", 2)), await centre(port(page, "count", 0))];
  await drag(page, from, to);
  await node(page, "count").focus();
  await page.keyboard.press("Enter");
  seen.steps.connected = await page.locator("#form select").first().inputValue();
  const place = async () => (await node(page, "draw").getAttribute("transform")).match(/[\d.]+/g).map(Number);
  const before = await place();
  await node(page, "draw").focus();
  await page.keyboard.press("ArrowDown");
  const after = await place();
  seen.steps.moved = [after[0] - before[0], after[1] - before[1]];
  // One that is removed leaves the focus to the one beside it.
  await page.keyboard.press("Delete");
  await node(page, "draw").waitFor({ state: "detached" });
  seen.steps.focus = await page.evaluate(() => document.activeElement.dataset.step);
  await page.getByRole("button", { name: "Undo", exact: true }).click();
  await node(page, "draw").waitFor();
  // Webhooks are those of the configuration.
  await page.selectOption("#palette", "webhook@1");
  await node(page, "webhook").waitFor();
  seen.steps.webhook = await page.getByLabel("webhook", { exact: true }).inputValue();
  await page.getByRole("button", { name: "Undo", exact: true }).click();
  await node(page, "webhook").waitFor({ state: "detached" });
  await page.keyboard.press("?");
  seen.steps.keys = await page.locator("dialog.keys kbd").allTextContents();
  await page.keyboard.press("Escape");
  await node(page, "draw").focus();
  await page.keyboard.press("Enter");
  // By forms alone: the name of the pipeline, and what it gives.
  await page.getByRole("button", { name: "To the whole pipeline" }).click();
  await page.getByLabel("Name", { exact: true }).fill("visitors");
  await page.getByLabel("Name", { exact: true }).press("Tab");
  for (const output of ["number", "picture"]) {
    await page.getByLabel("Name of a further output").fill(output);
    await page.getByLabel("Name of a further output").press("Tab");
  }
  await page.getByLabel("number", { exact: true }).selectOption("$steps.count.number");
  await page.getByLabel("picture", { exact: true }).selectOption("$steps.draw.image");
}

/** Types and clicks as quickly as people do: neither text nor a click is lost to an answer. */
async function typesOn(page) {
  await node(page, "filter").focus();
  await page.keyboard.press("Enter");
  await page.getByLabel("Name of the step").fill("count");
  await page.getByLabel("Name of the step").press("Tab");
  seen.steps.refusedName = await page.textContent("#form .outcome.bad");
  await page.getByLabel("labels", { exact: true }).fill("person");
  await page.getByRole("button", { name: "To the whole pipeline" }).click();
  const about = page.getByLabel("What it is for");
  await about.waitFor();
  const checked = page.waitForResponse("**/api/v1/pipelines/check");
  await page.getByRole("button", { name: "Undo", exact: true }).click();
  await about.focus();
  await page.keyboard.type("who comes");
  await checked;
  await page.evaluate(() => new Promise(requestAnimationFrame));
  seen.steps.typing = await about.evaluate((field) => [field.value, field === document.activeElement]);
  await about.fill("");
  // Without an answer there is no mistake.
  await page.route("**/api/v1/pipelines/check", (route) => route.fulfill({ status: 503, json: { detail: "busy" } }), { times: 1 });
  const unchecked = page.waitForResponse("**/api/v1/pipelines/check");
  await about.fill("visitors");
  await about.press("Tab");
  await unchecked;
  await page.evaluate(() => new Promise(requestAnimationFrame));
  seen.steps.unchecked = await page.locator("#commands button:text-is('Save')").isEnabled();
}

/** An older version becomes the newest again; what cannot be opened or saved leaves the one that is shown. */
async function keepsVersionsApart(page, questions) {
  // Another person saves it meanwhile.
  await page.evaluate(async () => {
    const { pipeline } = await (await fetch("/api/v1/pipelines/visitors")).json();
    const headers = { "content-type": "application/json" };
    await fetch("/api/v1/pipelines", { method: "POST", headers, body: JSON.stringify({ ...pipeline, about: "theirs" }) });
  });
  await page.click("#commands button:text-is('Save')");
  await page.waitForSelector("#saved.bad:not([hidden])");
  seen.steps.meanwhile = await page.textContent("#saved");
  await page.click("#commands button:text-is('Save'):enabled");
  await page.waitForSelector("#saved:not(.bad):not([hidden])");
  seen.steps.restored = await page.textContent("#saved");
  await page.route("**/api/v1/pipelines/objects", (route) => route.fulfill({ status: 404, json: { code: "not_found", detail: "it cannot be read" } }), { times: 1 });
  await page.selectOption("#pipeline", "objects");
  await page.waitForSelector("#problem:not([hidden])");
  seen.steps.stays = await page.inputValue("#pipeline");
  await page.getByRole("button", { name: "Remove", exact: true }).click();
  seen.steps.question = questions.at(-1);
  await page.getByRole("button", { name: "Duplicate" }).click();
  await page.getByRole("button", { name: "Send all" }).click();
  await page.waitForSelector("#tried.bad:not([hidden])");
  seen.steps.unsaved = await page.textContent("#tried");
  await page.getByLabel("Name", { exact: true }).fill("visitors");
  await page.getByLabel("Name", { exact: true }).press("Tab");
  await page.click("#commands button:text-is('Save'):enabled");
  await page.waitForSelector("#saved.bad:not([hidden])");
  seen.steps.taken = await page.textContent("#saved");
}

async function main(url, picture, text) {
  const browser = await launch();
  try {
    const page = follow(await (await browser.newContext({ viewport: { width: 1400, height: 1000 }, acceptDownloads: true })).newPage());
    const questions = [];
    page.on("dialog", (dialog) => {
      questions.push(dialog.message());
      return dialog.message().startsWith("Remove the pipeline") ? dialog.dismiss() : dialog.accept();
    });
    await page.goto(url);
    await page.click("#nav a[href='/pipelines']");
    await page.waitForSelector("#graph [data-step]");
    await look(page, "pipelines");
    await draws(page);
    await typesOn(page);

    // A mistake is said on its node and in its form, and undone.
    await node(page, "detect").focus();
    await page.keyboard.press("Enter");
    await page.getByLabel("min_score", { exact: true }).fill("7");
    await page.getByLabel("min_score", { exact: true }).press("Tab");
    await page.waitForSelector("#form .pl-errors li");
    seen.steps.mistake = await page.textContent("#form .pl-errors");
    seen.steps.wrong = (await labels(page)).filter((label) => label.includes("min_score"));
    await page.getByRole("button", { name: "Undo", exact: true }).click();
    await page.waitForSelector("#form .pl-errors li", { state: "detached" });

    await page.setInputFiles("#pictures", text);
    await page.getByRole("button", { name: "Try", exact: true }).click();
    await page.waitForSelector("#tried.bad:not([hidden])", LONG);
    seen.steps.refused = await page.textContent("#tried");
    await page.setInputFiles("#pictures", picture);
    await page.getByRole("button", { name: "Try", exact: true }).click();
    await page.waitForSelector("#tried:not(.bad):not([hidden])", LONG);
    seen.steps.tried = await page.textContent("#tried");
    seen.steps.labels = await labels(page);
    seen.steps.pictures = await page.locator("#graph image").count();
    await look(page, "pipelines-tried");

    await page.getByRole("button", { name: "Save", exact: true }).click();
    await page.waitForFunction(() => document.getElementById("saved").textContent !== "");
    seen.steps.saved = await page.textContent("#saved");
    await page.setInputFiles("#pictures", [picture, picture]);
    await page.getByRole("button", { name: "Send all" }).click();
    await page.waitForFunction(() => document.querySelectorAll("#executions .state").length === 2 && [...document.querySelectorAll("#executions .state")].every((state) => state.textContent === "finished"), null, LONG);
    await page.locator("#executions button", { hasText: "Result" }).first().click();
    await page.waitForSelector("#executions .pl-pictures img");
    await page.waitForFunction(() => [...document.querySelectorAll("#executions .pl-given")].every((image) => image.naturalWidth > 0), null, LONG);
    seen.steps.given = await page.locator("#executions .what").first().textContent();
    seen.steps.result = await page.locator("#executions pre").first().textContent();
    await page.locator("#executions button", { hasText: "Again" }).first().click();
    await page.waitForFunction(() => document.querySelectorAll("#executions > li").length === 3, null, LONG);
    const download = page.waitForEvent("download");
    await page.getByRole("button", { name: "Export" }).click();
    seen.steps.exported = (await download).suggestedFilename();
    // A further change is one version more, and the difference is said before.
    await node(page, "filter").focus();
    await page.keyboard.press("Enter");
    await page.getByLabel("labels", { exact: true }).fill("person");
    await page.getByLabel("labels", { exact: true }).press("Tab");
    seen.steps.difference = await page.locator("#changes li").allTextContents();
    await page.waitForSelector("#commands button:not([disabled]):text-is('Save')");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await page.waitForFunction(() => document.querySelectorAll("#pipeline-version option").length === 2);
    await page.selectOption("#pipeline-version", "1");
    await page.waitForFunction(() => document.getElementById("changes").hidden);
    await keepsVersionsApart(page, questions);

    const phone = { viewport: { width: 390, height: 844 }, colorScheme: "dark", hasTouch: true, locale: "ja-JP" };
    const other = follow(await (await browser.newContext(phone)).newPage());
    await other.goto(`${url}pipelines?pipeline=visitors`);
    await other.waitForSelector("#graph [data-step]");
    await other.waitForSelector("#executions > li");
    await look(other, "pipelines-phone-japanese");
    seen.steps.wide = await isWide(other);
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify(seen));
}

await main(process.argv[2], process.argv[3], process.argv[4]);
