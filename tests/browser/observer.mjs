// What is observed of pages while a person would use them: messages on the console, requests, what axe finds, and how much
// moves by itself. OUTPOST_SCREENSHOTS names a folder for PNGs of the pages, if anywhere.

import { readFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";

import { ARGUMENTS, PATIENCE_MS, chromium } from "./chromium.mjs";

const axe = readFileSync(path.join(process.env.OUTPOST_NODE_MODULES, "axe-core/axe.min.js"), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];

export const launch = () => chromium.launch({ executablePath: process.env.OUTPOST_CHROMIUM ?? "/usr/bin/chromium", args: ARGUMENTS });

/** How much of the page moved by itself since it was opened (Cumulative Layout Shift), and what moved most. */
const shiftOf = (page) => page.evaluate(() => new Promise((resolve) => {
  let sum = 0;
  const moved = [];
  const isOfAct = ({ startTime }) => (window.acts ?? []).some(([from, until]) => from <= startTime && startTime <= until);
  const note = (entry) => {
    if (entry.hadRecentInput || isOfAct(entry)) return;
    sum += entry.value;
    const nameOf = ({ node, previousRect, currentRect }) => `${node?.id || node?.className || node?.nodeName} ${previousRect.y} to ${currentRect.y}`;
    if (entry.value > 0.02) moved.push(`${entry.value.toFixed(3)}: ${entry.sources.map(nameOf).join(", ")}`);
  };
  new PerformanceObserver((list) => list.getEntries().forEach(note)).observe({ type: "layout-shift", buffered: true });
  requestAnimationFrame(() => setTimeout(() => resolve({ sum, moved }), 0));
}));

/**
 * Does what a person does, and waits in it for what comes of that. What moves meanwhile does not move by itself: on a busy machine
 * the answer comes later than the browser counts for the input's.
 */
export async function acting(page, act) {
  const from = await page.evaluate(() => performance.now());
  await act();
  await page.evaluate(async (from) => {
    // What is there now is drawn by the second one.
    for (let frame = 0; frame < 2; frame += 1) await new Promise(requestAnimationFrame);
    (window.acts ??= []).push([from, performance.now()]);
  }, from);
}

/**
 * An observer. `isAnswer(status, page)` says which statuses are answers to what is tried: Chromium puts them on the console
 * like errors. `fullPage`: pictures show the whole page.
 */
export function makeObserver({ isAnswer = () => false, fullPage = true } = {}) {
  const seen = { errors: [], violations: {}, shifts: {}, moved: {}, requests: [], steps: {} };

  /** Follows a page: what it says on the console, and asks for. */
  function follow(page) {
    page.setDefaultTimeout(PATIENCE_MS * 3);
    page.on("console", (message) => {
      const status = Number(/status of (\d+)/.exec(message.text())?.[1]);
      if (isAnswer(status, page)) return;
      if (message.type() === "error" || message.type() === "warning") seen.errors.push(`${page.url()}: ${message.text()}`);
    });
    page.on("pageerror", (error) => seen.errors.push(String(error)));
    page.on("request", (request) => seen.requests.push(request.url().slice(0, 300)));
    return page;
  }

  /** Asks axe about the page, and takes its picture. */
  async function look(page, name) {
    await page.waitForLoadState("load");
    const { sum, moved } = await shiftOf(page);
    [seen.shifts[name], seen.moved[name]] = [sum, moved];
    if (process.env.OUTPOST_SCREENSHOTS) {
      await page.screenshot({ path: path.join(process.env.OUTPOST_SCREENSHOTS, `${name}.png`), fullPage });
    }
    // By the debugger, since the page's own policy allows no script from elsewhere.
    await page.evaluate(axe);
    const { violations } = await page.evaluate((runOnly) => window.axe.run(document, { runOnly }), RULES);
    seen.violations[name] = violations.map((violation) => `${violation.id}: ${violation.nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`);
  }

  return { seen, follow, look };
}
