// Works with events on the pages of a running daemon as people do, and prints, as one JSON object, what was seen: the
// list, its filters in the address, keys, many at once, the page of one event, and the same on a phone.
//
//   node events.mjs LINK         LINK: the link that adds the first user
//                                OUTPOST_NODE_MODULES: folder with playwright-core and axe-core
//                                OUTPOST_SCREENSHOTS:  a folder for PNGs of the pages, if anywhere

import process from "node:process";

import { launch, makeObserver } from "./observer.mjs";

const PASSWORD = "correct horse battery";
// A link that is refused.
const isAnswer = (status, page) => new URL(page.url()).pathname === "/shared" && [401, 404].includes(status);
const { seen, follow, look } = makeObserver({ isAnswer, fullPage: false });

const entries = (page) => page.locator("#list .entry");
const cameras = async (page) => [...new Set((await page.locator("#list .where").allTextContents()).map((text) => text.split(" · ")[0]))];
const count = (page, selector, n) => page.waitForFunction(([wanted, number]) => document.querySelectorAll(wanted).length === number, [selector, n]);

async function workWithTheList(page, box) {
  await page.goto(`${box}/events`);
  await entries(page).nth(2).waitFor();
  seen.steps.all = (await cameras(page)).sort();
  await look(page, "events");

  await page.waitForFunction(() => document.querySelectorAll("select[name=camera] option").length > 2);
  await page.selectOption("select[name=camera]", "yard");
  await page.waitForFunction(() => [...document.querySelectorAll("#list .where")].every((where) => where.textContent.startsWith("yard")) && document.querySelector("#list .where"));
  seen.steps.address = new URL(page.url()).search;
  await page.reload();
  await entries(page).first().waitFor();
  seen.steps.filtered = await cameras(page);
  await page.goBack();
  await page.waitForFunction(() => new Set([...document.querySelectorAll("#list .where")].map((where) => where.textContent.split(" · ")[0])).size > 1);

  // By keys: the second one is reviewed and pinned, the first and third get a tag.
  await page.locator("h1").click();
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("r");
  await page.waitForSelector('#list .entry:nth-child(2)[data-reviewed="true"]');
  await page.keyboard.press("p");
  await page.waitForSelector("#list .entry:nth-child(2) .pinned");
  await page.keyboard.press("k");
  await page.keyboard.press("x");
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("x");
  await page.waitForSelector("#bulk:not([hidden])");
  seen.steps.selected = await page.textContent("#selected");
  await page.fill("#tag-name", "van");
  await page.click("#tag-form button");
  await count(page, "#list .mark.tag", 2);
  await look(page, "events-selected");
  await page.locator("h1").click();
  await page.keyboard.press("Escape");
  await page.waitForSelector("#bulk", { state: "hidden" });

  // Enter opens the event that keys are about, and nothing else than what has the focus.
  await page.keyboard.press("j");
  await page.locator("#filters summary").focus();
  await page.keyboard.press("Enter");
  await page.waitForSelector("#filters details[open]");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#filters details:not([open])");
  await page.locator("#nav a[href='/cameras']").focus();
  await page.keyboard.press("Enter");
  await page.waitForURL((url) => url.pathname === "/cameras");

  await page.goto(`${box}/events?tag=van`);
  await count(page, "#list .entry", 2);
  await page.goto(`${box}/events?reviewed=true`);
  await count(page, "#list .entry", 1);
  await page.goto(`${box}/events?pinned=true&text=gate+yard`);
  await page.waitForSelector("#no-events:not([hidden])");
  seen.steps.none = await page.textContent("#no-events");
}

/** Saves a note over which another person saved one meanwhile: neither is lost without a word. */
async function saveOverAnother(page) {
  const before = await page.inputValue("#note");
  await page.fill("#note", "mine");
  await page.evaluate(async () => {
    const headers = { "content-type": "application/json" };
    await fetch(`/api/v1${location.pathname}`, { method: "PATCH", headers, body: JSON.stringify({ note: "theirs" }) });
  });
  await page.click("#said button[type=submit]");
  await page.waitForSelector("#said-newer q");
  const lost = { said: await page.textContent("#said .outcome"), newer: await page.textContent("#said-newer"), mine: await page.inputValue("#note") };
  await page.fill("#note", before);
  await page.click("#said button[type=submit]");
  await page.waitForFunction(() => document.querySelector("#said .outcome").textContent === "Saved.");
  return lost;
}

/** A note that was not saved is not left without a question. */
async function leaveUnsaved(page) {
  const before = await page.inputValue("#note");
  await page.fill("#note", "unsaved");
  const leave = () => setTimeout(() => document.getElementById("back").click());
  const [dialog] = await Promise.all([page.waitForEvent("dialog"), page.evaluate(leave)]);
  await dialog.dismiss();
  seen.steps.leaving = [dialog.type(), await page.inputValue("#note")];
  await page.fill("#note", before);
}

/** A stream that is refused is asked for again, and until then the page says that it is not up to date. */
async function followAgain(context, box) {
  const page = await context.newPage();
  await page.route("**/api/v1/stream?*", (route) => route.fulfill({ status: 503, json: {} }), { times: 1 });
  await page.goto(`${box}/events`);
  await page.waitForSelector("#outdated:not([hidden])");
  // As if it were looked at again.
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  await page.waitForSelector("#outdated", { state: "hidden" });
  await page.close();
}

async function workWithOne(browser, page, box) {
  await page.goto(`${box}/events?tag=van`);
  await count(page, "#list .entry", 2);
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.waitForURL((url) => url.pathname.startsWith("/events/"));
  await page.waitForFunction(() => document.getElementById("event-video").readyState >= 2);
  // The object is marked while it is in the picture.
  await page.waitForSelector("#boxes-label:not([hidden])");
  seen.steps.playing = await page.evaluate(async () => {
    const video = document.getElementById("event-video");
    const places = new Set();
    video.muted = true;
    await video.play();
    while (!video.ended && places.size < 3) {
      await new Promise((resolve) => requestAnimationFrame(resolve));
      const box = document.getElementById("film-box");
      if (!box.hasAttribute("hidden")) places.add(box.getAttribute("x"));
    }
    video.pause();
    return { moved: places.size, at: video.currentTime > 0 };
  });
  seen.steps.path = (await page.getAttribute("#path", "points")).split(" ").length;
  await page.fill("#note", "The gardener, <b>again</b>");
  await page.fill("#tags", "van, parcel");
  await page.selectOption("#verdict", "false_alarm");
  await page.click("#said button[type=submit]");
  await page.waitForSelector("#said .outcome:not([hidden])");
  seen.steps.saved = await page.textContent("#said .outcome");
  await look(page, "event");
  seen.steps.lost = await saveOverAnother(page);
  await leaveUnsaved(page);
  await page.locator("h1").click();
  await page.keyboard.press("p");
  await page.waitForSelector('#pin[aria-pressed="true"]');
  await page.keyboard.press("r");
  await page.waitForSelector('#review[aria-pressed="true"]');
  await page.reload();
  await page.waitForFunction(() => document.getElementById("note").value !== "");
  seen.steps.kept = { note: await page.inputValue("#note"), tags: await page.inputValue("#tags"), by: await page.textContent("#reviewed-by"), timeline: await page.getAttribute("#timeline", "href") };

  await share(browser, page, box);

  // The next one of the same filter has only one of the tags; it is deleted, which is asked before.
  await page.waitForSelector("#older[href]");
  await page.click("#older");
  await page.waitForFunction(() => document.getElementById("tags").value === "van");
  const id = new URL(page.url()).pathname.split("/").at(-1);
  page.once("dialog", (dialog) => dialog.dismiss());
  await page.click("#delete");
  page.once("dialog", (dialog) => dialog.accept());
  await page.click("#delete");
  await page.waitForSelector(".one-event", { state: "hidden" });
  seen.steps.deleted = { id, says: await page.textContent("#event-notice") };
  await page.click("#back");
  await count(page, "#list .entry", 1);
}

/** A list of as many events as a box has after years: what the box would answer is made up here. */
async function scrollThroughMany(context, box) {
  const page = await context.newPage();
  const total = 200_000;
  const id = (n) => `01KAM${String(total - n).padStart(21, "0")}`;
  const moment = { wall: "2026-11-22T10:00:00Z", mono_ns: 1, boot_id: "b", time_quality: "synchronised" };
  const record = (n) => ({ event: { id: id(n), camera: "yard", rule: "r", label: "person", kind: "object", state: "ended", score: 0.5, count: 1, zones: [], start: moment, end: moment, pictures: [] }, delivery: [] });
  await page.route("**/api/v1/events?*", (route) => {
    const before = new URL(route.request().url()).searchParams.get("before");
    const first = before ? total - Number(before.slice(5)) + 1 : 0;
    const events = Array.from({ length: Math.min(60, total - first) }, (_, n) => record(first + n));
    return route.fulfill({ json: { events, next: first + 60 < total ? events.at(-1).event.id : undefined } });
  });
  await page.goto(`${box}/events`);
  await entries(page).first().waitFor();
  // As quick as can be: what is added is scrolled away before a frame shows it.
  await page.evaluate(() => {
    const toTheEnd = () => document.querySelectorAll(".part").length <= 60 && scrollTo(0, document.documentElement.scrollHeight);
    new MutationObserver(toTheEnd).observe(document.getElementById("list"), { childList: true });
    toTheEnd();
  });
  await page.waitForFunction(() => document.querySelectorAll(".part").length > 60);
  const loaded = await page.locator(".part").count();
  await page.waitForFunction(() => document.querySelectorAll(".entry").length < 600);
  const inDocument = await entries(page).count();
  await page.evaluate(() => scrollTo(0, 0));
  await page.waitForFunction((first) => document.querySelector(".part:first-child .entry")?.dataset.id === first, id(0));
  seen.steps.many = { loaded: loaded * 60, inDocument };
  await page.close();
}

/** Opens `link` as someone without a login, in a private window. */
async function openShared(browser, link) {
  const page = follow(await (await browser.newContext({ viewport: { width: 900, height: 800 } })).newPage());
  await page.goto(link);
  return page;
}

/** Makes a link on the page of an event, uses it, and withdraws it. */
async function share(browser, page, box) {
  const address = page.url();
  await page.click("#share summary");
  await page.waitForSelector("#share-file option", { state: "attached" });
  await page.selectOption("#share-file", { index: 0 });
  await page.fill("#share-password", "haystack");
  await page.click("#share-form button[type=submit]");
  await page.waitForSelector("#share-made:not([hidden])");
  const link = await page.inputValue("#share-link");
  await look(page, "event-shared");

  const other = await openShared(browser, link);
  await other.waitForSelector("#open:not([hidden])");
  await other.fill("#password", "needle");
  await other.click("#open button");
  await other.waitForSelector("#open .outcome.bad:not([hidden])");
  await other.fill("#password", "haystack");
  await other.click("#open button");
  await other.waitForFunction(() => document.getElementById("video").readyState >= 1);
  await other.evaluate(() => document.getElementById("video").play());
  await other.waitForFunction(() => document.getElementById("video").currentTime > 0.2);
  await other.evaluate(() => document.getElementById("video").pause());
  await look(other, "shared");
  const { name, rest } = await other.evaluate(() => ({ name: document.getElementById("download").download, rest: document.body.innerText }));

  await page.goto(`${box}/account`);
  await page.waitForSelector("#links tr");
  await page.click("#links button");
  await page.waitForSelector("#no-links:not([hidden])");
  const late = await openShared(browser, link);
  await late.waitForSelector("#gone:not([hidden])");
  seen.steps.shared = { link, name, namesTheCamera: /gate|yard/.test(rest), gone: await late.textContent("#gone") };
  await page.goto(address);
  await page.waitForFunction(() => document.getElementById("note").value !== "");
}

async function workOnAPhone(browser, box, state) {
  const phone = { viewport: { width: 390, height: 844 }, colorScheme: "dark", hasTouch: true, isMobile: true, storageState: state };
  const page = follow(await (await browser.newContext(phone)).newPage());
  await page.goto(`${box}/events`);
  await entries(page).first().waitFor();
  await look(page, "events-phone-dark");
  await page.tap("#select");
  await entries(page).first().locator("a").tap();
  await page.waitForSelector("#bulk:not([hidden])");
  await look(page, "events-phone-dark-selected");
  await page.tap('[data-action="review"]');
  await page.waitForSelector('#list .entry:first-child[data-reviewed="true"]');
  await page.tap('[data-action="clear"]');
  await entries(page).first().locator("a").tap();
  await page.waitForURL((url) => url.pathname.startsWith("/events/"));
  await page.waitForFunction(() => document.getElementById("event-video").readyState >= 1 || !document.getElementById("film-notice").hidden);
  await look(page, "event-phone-dark");
  seen.steps.wide = await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);
}

async function main(link) {
  const browser = await launch();
  try {
    const box = new URL(link).origin;
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
    const page = follow(await context.newPage());
    await page.goto(link);
    await page.waitForSelector("#setup:not([hidden])");
    await page.fill("#new-name", "anna");
    await page.fill("#new-password", PASSWORD);
    await page.click("#setup button");
    await page.waitForURL((url) => url.pathname === "/");
    await page.waitForSelector("#events li");
    await workWithTheList(page, box);
    await workWithOne(browser, page, box);
    await followAgain(context, box);
    await scrollThroughMany(context, box);
    await workOnAPhone(browser, box, await context.storageState());
    await page.goto(`${box}/events`);
    await page.selectOption("#language", "ja");
    await page.waitForSelector("html[lang=ja]");
    await entries(page).first().waitFor();
    await look(page, "events-japanese");
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify(seen));
}

await main(process.argv[2]);
