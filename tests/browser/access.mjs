// Sets up a box without users as a person would, logs in and out, and prints as one JSON object what happened.
//
//   node access.mjs LINK         LINK: the set-up link of the daemon's log
//                                OUTPOST_NODE_MODULES: folder with playwright-core and axe-core
//                                OUTPOST_SCREENSHOTS:  a folder for PNGs of the pages, if anywhere

import { createHmac } from "node:crypto";
import process from "node:process";

import { launch, makeObserver } from "./observer.mjs";

const PASSWORD = "correct horse battery";
const { seen, follow, look } = makeObserver({ isAnswer: (status) => [401, 403, 409, 429].includes(status) });

/** The code of an authenticator app (RFC 6238), `ahead` steps from now. */
function codeOf(secret, ahead = 0) {
  const bits = [...secret.replaceAll(" ", "")].map((c) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(c).toString(2).padStart(5, "0")).join("");
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + ahead));
  const hash = createHmac("sha1", key).update(step).digest();
  const at = hash[19] & 15;
  return String((hash.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}

async function logIn(page, name, password, code) {
  await page.fill("#name", name);
  await page.fill("#password", password);
  if (code) await page.fill("#code", code);
  await page.click("#login button");
}

const isOverview = (page) => page.waitForURL((url) => url.pathname === "/");
const isLogin = (page) => page.waitForURL((url) => url.pathname === "/login");

/** Sets an authenticator app up by its secret, as on the phone that has the app, and logs in with it. */
async function secondFactorOnAPhone(page, box) {
  await page.goto(`${box}/account`);
  await page.waitForSelector("#sessions tr");
  await page.click("#factor-begin");
  await page.fill("#factor-password", PASSWORD);
  await page.click("#proof-form button[type=submit]");
  await page.waitForSelector("#qr img");
  const secret = await page.textContent("#secret");
  await look(page, "account-phone-dark");
  seen.steps.secretFits = await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);
  await page.fill("#code", codeOf(secret));
  await page.click("#confirm-form button");
  await page.waitForSelector("#recovery-codes li");
  await look(page, "recovery-phone-dark");
  await page.click("#logout");
  await isLogin(page);
  await page.waitForSelector("#login:not([hidden])");
  await logIn(page, "vera", PASSWORD);
  await page.waitForSelector("#code-field:not([hidden])");
  // Each code is taken once: the next one, which is taken somewhat early.
  await logIn(page, "vera", PASSWORD, codeOf(secret, 1));
  await isOverview(page);
  await page.goto(`${box}/account`);
  await page.waitForSelector("#sessions tr");
  seen.steps.factorOnThePhone = await page.evaluate(() => fetch("/api/v1/me").then((answer) => answer.json()).then((me) => me.second_factor));
}

async function main(link) {
  const browser = await launch();
  try {
    const box = new URL(link).origin;
    const desktop = { viewport: { width: 1280, height: 900 } };
    const page = follow(await (await browser.newContext(desktop)).newPage());

    await page.goto(link);
    await page.waitForSelector("#setup:not([hidden])");
    await look(page, "setup");
    await page.fill("#new-name", "anna");
    await page.fill("#new-password", PASSWORD);
    await page.click("#setup button");
    await isOverview(page);
    await page.waitForSelector("#nav a[href='/people']");
    seen.steps.cookie = (await page.context().cookies()).map(({ name, httpOnly, sameSite }) => ({ name, httpOnly, sameSite }));

    await page.goto(`${box}/account`);
    await page.waitForSelector("#sessions tr");
    await page.click("#factor-begin");
    await page.fill("#factor-password", PASSWORD);
    await page.click("#proof-form button[type=submit]");
    await page.waitForSelector("#qr img");
    const secret = await page.textContent("#secret");
    await look(page, "account");
    await page.fill("#code", codeOf(secret));
    await page.click("#confirm-form button");
    await page.waitForSelector("#recovery-codes li");
    const recovery = await page.locator("#recovery-codes li").allTextContents();
    seen.steps.recovery = recovery.length;
    await look(page, "recovery");

    await page.goto(`${box}/people`);
    await page.waitForSelector("#users tr");
    await page.fill("#user-name", "vera");
    await page.fill("#user-password", PASSWORD);
    await page.uncheck("#user-cameras input[name=all]");
    await page.check("#user-cameras input[name=camera]");
    await page.click("#user-form button");
    await page.waitForSelector("#users tr:nth-child(2)");
    // Another time, and back to all of it.
    await page.locator("#users tr:nth-child(2) button").first().click();
    await page.waitForSelector("#user-edit[open]");
    await page.fill("#edit-cameras [name=since]", "2030-01-01T00:00");
    await page.fill("#edit-cameras [name=until]", "2030-02-01T00:00");
    await look(page, "people-edit");
    await page.click("#edit-form button[type=submit]");
    await page.waitForFunction(() => document.getElementById("users").textContent.includes("2030"));
    seen.steps.grant = await page.evaluate(() => fetch("/api/v1/users").then((answer) => answer.json()).then(({ users }) => users.find(({ name }) => name === "vera").cameras));
    await page.locator("#users tr:nth-child(2) button").first().click();
    await page.fill("#edit-cameras [name=since]", "");
    await page.fill("#edit-cameras [name=until]", "");
    await page.click("#edit-unlock");
    await page.waitForSelector("#edit-form .outcome:not([hidden])");
    await page.click("#edit-form button[type=submit]");
    await page.waitForFunction(() => !document.getElementById("users").textContent.includes("2030"));
    await page.fill("#key-name", "a program");
    await page.click("#key-form button");
    await page.waitForSelector("#new-key:not([hidden])");
    const key = await page.textContent("#new-key-text");
    seen.steps.key = (await fetch(`${box}/api/v1/me`, { headers: { authorization: `Bearer ${key}` } })).status;
    await look(page, "people");

    const phone = { viewport: { width: 390, height: 844 }, colorScheme: "dark" };
    const other = follow(await (await browser.newContext(phone)).newPage());
    await other.goto(box);
    await isLogin(other);
    await other.waitForSelector("#login:not([hidden])");
    await logIn(other, "vera", "wrong horse battery");
    await other.waitForSelector("#login .outcome.bad:not([hidden])");
    seen.steps.wrong = await other.textContent("#login .outcome");
    await look(other, "login-phone-dark");
    await logIn(other, "vera", PASSWORD);
    await isOverview(other);
    await other.waitForSelector("#cameras li");
    await other.waitForSelector("#events li");
    seen.steps.viewerMayPause = await other.locator(".outlets .button:visible").count();
    await look(other, "overview-phone-dark");
    await other.goto(`${box}/pipelines`);
    await other.locator("#graph [data-step]").first().focus();
    await other.locator("#form input").first().waitFor();
    seen.steps.viewerMayEdit = await other.locator("#form :is(input, select, textarea):enabled, #form .danger").count();
    await secondFactorOnAPhone(other, box);
    await other.goto(`${box}/people`);
    await isOverview(other);

    // An admin ends the session; the page that is open goes to the login by itself.
    await page.reload();
    await page.locator("#all-sessions tr", { hasText: "vera" }).locator("button").click();
    await isLogin(other);
    seen.steps.ended = true;

    await page.click("#logout");
    await isLogin(page);
    await page.waitForSelector("#login:not([hidden])");
    await logIn(page, "anna", PASSWORD);
    await page.waitForSelector("#code-field:not([hidden])");
    await logIn(page, "anna", PASSWORD, "000000");
    await page.waitForSelector("#login .outcome.bad:not([hidden])");
    await logIn(page, "anna", PASSWORD, recovery[0]);
    await isOverview(page);
    await page.waitForSelector("#cameras li");
    await page.waitForSelector(".outlets tbody tr");
    seen.steps.adminMayPause = await page.locator(".outlets .button:visible").count();
    await look(page, "overview");
    await page.selectOption("#language", "ja");
    await page.waitForSelector("html[lang=ja]");
    await page.waitForSelector("#cameras li");
    await page.waitForSelector("#events li");
    await look(page, "overview-japanese");
    await page.keyboard.press("?");
    await page.waitForSelector("dialog.keys[open]");
    await look(page, "keys-japanese");
    await page.keyboard.press("Escape");
    await page.keyboard.press("g");
    await page.keyboard.press("u");
    await page.waitForURL((url) => url.pathname === "/people");
    await page.waitForSelector("#users tr");
    seen.steps.japanese = await page.textContent("h1");
    await look(page, "people-japanese");
    await page.goto(link);
    await isOverviewOrLogin(page);
    seen.steps.link = await page.evaluate(() => fetch("/api/v1/setup", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ secret: "x", name: "eve", password: "correct horse battery" }) }).then((answer) => answer.status));
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify(seen));
}

const isOverviewOrLogin = (page) => page.waitForSelector("#login:not([hidden])");

await main(process.argv[2]);
