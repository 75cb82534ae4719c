// An open page while nothing happens: how many bytes it takes, by address.
//
// usage: node idle.mjs PAGE PATH...
//
// Prints for each path { total, addresses: { address: bytes } }, of 20 s from when the page has all that it shows at first.

import { launch } from "./observer.mjs";

const SECONDS = 20;
const [page, ...paths] = process.argv.slice(2);

async function takenBy(browser, path) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const tab = await context.newPage();
  const network = await context.newCDPSession(tab);
  await network.send("Network.enable");
  const asked = new Map();
  const addresses = {};
  let total = null;
  const add = (address, bytes) => {
    if (total === null) return;
    total += bytes;
    const name = new URL(address).pathname;
    addresses[name] = (addresses[name] ?? 0) + bytes;
  };
  network.on("Network.requestWillBeSent", ({ requestId, request }) => asked.set(requestId, request.url));
  network.on("Network.responseReceived", ({ response }) => add(response.url, response.encodedDataLength));
  network.on("Network.dataReceived", ({ requestId, encodedDataLength }) => add(asked.get(requestId) ?? page, encodedDataLength));
  await tab.goto(new URL(path, page).href);
  // The picture of the camera and what is loaded behind the first paint.
  if (path === "/") await tab.locator(".camera .picture img").first().waitFor({ timeout: 60000 });
  await tab.waitForTimeout(3000);
  total = 0;
  await tab.waitForTimeout(SECONDS * 1000);
  await context.close();
  return { total, addresses };
}

const browser = await launch();
const taken = {};
for (const path of paths) taken[path] = await takenBy(browser, path);
await browser.close();
console.log(JSON.stringify(taken));
