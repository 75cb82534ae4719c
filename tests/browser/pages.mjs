// Opens every page at the width of a desktop and of a phone, retries a dead letter, follows the log, ends a session with an
// open live view, and opens a link after its end; prints as one JSON object what happened.
//
//   node pages.mjs LINK EVENT    LINK: the set-up link of the daemon's log; EVENT: the id of an event with a thumbnail
//                                OUTPOST_NODE_MODULES: folder with playwright-core and axe-core
//                                OUTPOST_SCREENSHOTS:  a folder for PNGs of the pages, if anywhere

import process from "node:process";

import { launch, makeObserver } from "./observer.mjs";

const PASSWORD = "correct horse battery";
const WIDTHS = {
  desktop: { viewport: { width: 1280, height: 900 } },
  phone: { viewport: { width: 390, height: 844 }, colorScheme: "dark", hasTouch: true, isMobile: true },
};
// By its address: what shows that the page has what it is for.
const PAGES = (event) => ({
  "/": "#cameras li",
  "/events": "#list .entry",
  [`/events/${event}`]: ".one-event:not([hidden])",
  "/timeline": "#tl-exports",
  "/cameras": "#cameras li",
  "/models": "#models li, #no-models:not([hidden])",
  "/photos": "#no-photos:not([hidden])",
  "/system": "#log li",
  "/people": "#users tr",
  "/audit": "#entries tr",
  "/account": "#sessions tr",
});
// A link that is refused, and the look for a session before the login.
const isAnswer = (status, page) => {
  const { pathname } = new URL(page.url());
  return (pathname === "/shared" && [401, 404].includes(status)) || (pathname === "/login" && status === 401);
};
const { seen, follow, look } = makeObserver({ isAnswer });

async function openEveryPage(browser, box, event, storageState) {
  seen.steps.wide = [];
  for (const [name, device] of Object.entries(WIDTHS)) {
    const page = follow(await (await browser.newContext({ ...device, storageState })).newPage());
    for (const [path, selector] of Object.entries(PAGES(event))) {
      await page.goto(box + path);
      await page.locator(selector).first().waitFor({ state: "attached" });
      await look(page, `${path.split("/").slice(1).map((part) => (part === event ? "one" : part)).join("-") || "overview"}-${name}`);
      const isWide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      if (isWide) seen.steps.wide.push(`${path} on the ${name}`);
    }
    await page.context().close();
  }
}

/** All cameras at once on a phone: video plays in each tile, and goes back to pictures. */
async function watchTheGridOnAPhone(browser, box, storageState) {
  const page = follow(await (await browser.newContext({ ...WIDTHS.phone, storageState })).newPage());
  await page.goto(box);
  await page.locator(".camera .live-open:enabled").first().waitFor();
  await page.tap(".live-toggle");
  const plays = ([past]) => {
    const tiles = [...document.querySelectorAll(".camera")];
    return tiles.length > 0 && tiles.every((tile) => tile.dataset.live === "live" && tile.querySelector("video")?.currentTime > past);
  };
  await page.waitForFunction(plays, [0]);
  const time = await page.evaluate(() => Math.max(...[...document.querySelectorAll(".camera video")].map((video) => video.currentTime)));
  await page.waitForFunction(plays, [time + 1]);
  await look(page, "live-grid-phone");
  if (await page.evaluate(() => document.documentElement.scrollWidth > innerWidth)) seen.steps.wide.push("the grid on the phone");
  await page.tap(".live-toggle");
  await page.waitForFunction(() => !document.querySelector(".camera video"));
  seen.steps.grid = { tiles: await page.locator(".camera").count(), past: time };
  await page.context().close();
}

/** The page is sent what is written meanwhile, and does not ask for it. */
async function followTheLog(page, box) {
  await page.goto(`${box}/system`);
  await page.waitForSelector("#log li");
  const asked = [];
  page.on("request", (request) => {
    if (new URL(request.url()).pathname === "/api/v1/log") asked.push(request.url());
  });
  const before = await page.locator("#log li", { hasText: "configuration" }).count();
  await page.locator("#config-acts button").click();
  await page.waitForFunction((before) => [...document.querySelectorAll("#log li")].filter((line) => line.textContent.includes("configuration")).length > before, before);
  seen.steps.logAsked = asked.length;
}

async function retryTheDeadLetter(page, box) {
  await page.goto(`${box}/system`);
  await page.waitForSelector("#queue-outlet option", { state: "attached" });
  await page.selectOption("#queue-state", "dead");
  await page.locator("#queue tr", { hasText: "snapshot.jpg" }).waitFor();
  seen.steps.dead = await page.locator("#queue tr .reason").first().textContent();
  await page.locator("#queue tr", { hasText: "snapshot.jpg" }).locator("button").first().click();
  await page.waitForSelector("#queue-empty:not([hidden])");
}

async function endASessionThatLooks(browser, page, box) {
  const user = { name: "vera", password: PASSWORD, role: "viewer" };
  await page.evaluate((user) => fetch("/api/v1/users", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(user) }), user);
  const other = follow(await (await browser.newContext(WIDTHS.phone)).newPage());
  let closed = 0;
  // Those that come after it are refused.
  other.once("websocket", (socket) => socket.on("close", () => { closed += 1; }));
  await other.goto(`${box}/login`);
  await other.waitForSelector("#login:not([hidden])");
  await other.fill("#name", user.name);
  await other.fill("#password", user.password);
  await other.click("#login button");
  await other.waitForURL((url) => url.pathname === "/");
  await other.locator(".camera .live-open").first().click();
  await other.waitForFunction(() => document.querySelector("#live video")?.currentTime > 0);
  const time = await other.evaluate(() => document.querySelector("#live video").currentTime);
  await other.waitForFunction((time) => document.querySelector("#live video").currentTime > time + 1, time);
  // It is refused from here on, and says so: the browser notes each refusal.
  other.removeAllListeners("console");
  await page.goto(`${box}/people`);
  await page.locator("#all-sessions tr", { hasText: "vera" }).locator("button").click();
  await other.waitForURL((url) => url.pathname === "/login");
  seen.steps.ended = { closed };
}

/** A link ends at its time, and whenever it is withdrawn. */
async function openALinkAfterItsEnd(browser, page, event) {
  const made = await page.evaluate(async (event) => {
    const expires = new Date(Date.now() + 20_000).toISOString();
    const body = JSON.stringify({ event, file: "thumb.jpg", expires });
    const answer = await fetch("/api/v1/shares", { method: "POST", headers: { "content-type": "application/json" }, body });
    const { link, id } = await answer.json();
    return { link: `${location.origin}/shared#${link}`, id, expires };
  }, event);
  const open = async () => {
    const other = follow(await (await browser.newContext(WIDTHS.phone)).newPage());
    await other.goto(made.link);
    await other.locator("#gone:not([hidden]), #picture:not([hidden])").first().waitFor();
    const gone = await other.locator("#gone:not([hidden])").count();
    await other.context().close();
    return gone === 0;
  };
  seen.steps.linkHeld = await open();
  await page.waitForFunction((expires) => Date.now() > Date.parse(expires), made.expires);
  seen.steps.linkEnds = !(await open());
  await page.evaluate(async (id) => {
    await fetch(`/api/v1/shares/${id}`, { method: "DELETE", headers: { "content-type": "application/json" } });
  }, made.id);
  seen.steps.linkWithdrawn = !(await open());
}

async function main(link, event) {
  const browser = await launch();
  try {
    const box = new URL(link).origin;
    const page = follow(await (await browser.newContext(WIDTHS.desktop)).newPage());
    await page.goto(link);
    await page.waitForSelector("#setup:not([hidden])");
    await page.fill("#new-name", "anna");
    await page.fill("#new-password", PASSWORD);
    await page.click("#setup button");
    await page.waitForURL((url) => url.pathname === "/");
    await openEveryPage(browser, box, event, await page.context().storageState());
    await watchTheGridOnAPhone(browser, box, await page.context().storageState());
    await followTheLog(page, box);
    await retryTheDeadLetter(page, box);
    await openALinkAfterItsEnd(browser, page, event);
    await endASessionThatLooks(browser, page, box);
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify(seen));
}

await main(...process.argv.slice(2));
