// A page in the browser of the tests: OUTPOST_CHROMIUM, /usr/bin/chromium by default, driven by the playwright-core of
// OUTPOST_NODE_MODULES.

import { createRequire } from "node:module";
import path from "node:path";
import process from "node:process";

export const { chromium } = createRequire(path.join(process.env.OUTPOST_NODE_MODULES, "here.js"))("playwright-core");

export const ARGUMENTS = [
  "--no-sandbox", // tests may run as root, where Chromium's own sandbox cannot
  "--disable-gpu",
  "--disable-quic",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];

export const PATIENCE_MS = 30_000;

/** Gives what `act` makes of a fresh page. */
export async function withPage(viewport, act) {
  const browser = await chromium.launch({
    executablePath: process.env.OUTPOST_CHROMIUM ?? "/usr/bin/chromium",
    args: ARGUMENTS,
  });
  try {
    return await act(await browser.newPage({ viewport }));
  } finally {
    await browser.close();
  }
}
