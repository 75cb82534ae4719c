// Publishes Chromium's fake camera to a box, as a person with a phone does, and plays it by WHEP. Prints a report as JSON.
//
//   node publish.mjs URL TOKEN VIDEO   VIDEO: a Y4M or MJPEG file that the fake camera shows

import process from "node:process";

import { ARGUMENTS, PATIENCE_MS, chromium } from "./chromium.mjs";
import { makeObserver } from "./observer.mjs";

const [url, token, video] = process.argv.slice(2);
const FAKE = [
  "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream",
  `--use-file-for-fake-video-capture=${video}`,
  "--allow-loopback-in-peer-connection",
  // Pages in the background go on at full pace.
  "--disable-background-timer-throttling",
  "--disable-renderer-backgrounding",
  "--disable-backgrounding-occluded-windows",
];
const browser = await chromium.launch({ executablePath: process.env.OUTPOST_CHROMIUM ?? "/usr/bin/chromium", args: [...ARGUMENTS, ...FAKE] });
// The second publisher is refused, and a session that has ended is not there, which Chromium puts on its console.
const { seen, follow, look } = makeObserver({ isAnswer: (status) => [401, 404, 409].includes(status) });
const { steps } = seen;
const context = await browser.newContext({ viewport: { width: 390, height: 844 } });

const stateOf = (page, state) => page.waitForFunction((wanted) => document.getElementById("state").dataset.key === wanted, `publish.${state}`, { timeout: 2 * PATIENCE_MS });
const text = (page) => page.textContent("#state");

/** Ends while the person is asked for the camera, and while the box has not answered: nothing goes on air. */
async function endEarly() {
  const page = follow(await context.newPage());
  await page.goto(`${url}cameras/phone/publish#token=${token}`);
  await page.evaluate(() => {
    const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => {
      window.stream = await ask(wanted);
      await new Promise((allow) => Object.assign(window, { allow }));
      return window.stream;
    };
  });
  await page.click("#begin");
  await page.waitForFunction(() => window.allow);
  await page.click("#end");
  await page.evaluate(() => window.allow());
  await page.waitForFunction(() => window.stream.getTracks()[0].readyState === "ended");
  steps.early = [await page.getAttribute("#state", "data-key")];

  await page.reload();
  let answer;
  await page.route("**/whip/phone", (route) => (answer = () => route.continue()));
  const asked = page.waitForRequest("**/whip/phone");
  await page.click("#begin");
  await asked;
  await page.click("#end");
  const deleted = page.waitForResponse((response) => response.request().method() === "DELETE");
  await answer();
  steps.early.push((await deleted).status(), await page.getAttribute("#state", "data-key"));
  await page.close();
}
await endEarly();

const phone = follow(await context.newPage());
/** Addresses of the sessions that the phone began. */
const sessions = [];
phone.on("response", (answer) => {
  if (answer.request().method() === "POST" && answer.status() === 201) sessions.push(answer.headers().location);
});
await phone.goto(`${url}cameras/phone/publish#token=${token}`);
await look(phone, "idle");
steps.wide = await phone.evaluate(() => document.documentElement.scrollWidth <= innerWidth);
await phone.click("#begin");
await stateOf(phone, "live");
await phone.waitForFunction(() => document.getElementById("preview").currentTime > 0.5);
steps.live = await text(phone);
await look(phone, "live");

// A camera that is taken away is opened again.
await phone.evaluate(() => {
  const [track] = document.getElementById("preview").srcObject.getTracks();
  track.stop();
  track.dispatchEvent(new Event("ended"));
});
await phone.waitForFunction(() => document.getElementById("preview").srcObject.getTracks()[0].readyState === "live");

const other = follow(await context.newPage());
await other.goto(`${url}cameras/phone/publish#token=${token}`);
await other.click("#begin");
await stateOf(other, "taken");
steps.taken = await text(other);
await other.goto(`${url}cameras/phone/publish?second#token=${"x".repeat(20)}`);
await other.click("#begin");
await stateOf(other, "not_allowed");
steps.wrongToken = await text(other);

/** Asks the box until `enough` is true of the answer. */
const until = async (path, enough) => {
  for (const begun = Date.now(); Date.now() - begun < 4 * PATIENCE_MS; await new Promise((done) => setTimeout(done, 200))) {
    const answer = await (await context.request.get(`${url}${path}`)).json();
    if (enough(answer)) return answer;
  }
  throw new Error(`${path} never said what was waited for`);
};
const phoneIs = (state) => until("api/v1/status", ({ cameras }) => cameras.find(({ name }) => name === "phone").state === state);
const online = (await phoneIs("online")).cameras.find(({ name }) => name === "phone");
steps.codec = online.codec;

const publisher = async (enough) => {
  const of = ({ cameras }) => cameras.find(({ name }) => name === "phone").webrtc?.publisher;
  return of(await until("api/v1/status", (status) => enough(of(status))));
};
steps.publisher = await publisher((of) => of?.connected && of.packets > 0);

// The network of the phone changes: an ICE restart, and the session goes on.
const moved = phone.waitForResponse((answer) => answer.request().method() === "PATCH");
await phone.evaluate(() => {
  const real = Object.getOwnPropertyDescriptor(RTCPeerConnection.prototype, "connectionState");
  const define = (descriptor) => Object.defineProperty(RTCPeerConnection.prototype, "connectionState", descriptor);
  // Once.
  define({ configurable: true, get: () => define(real) && "disconnected" });
  dispatchEvent(new Event("online"));
});
steps.moved = (await moved).status();
const { packets } = await publisher((of) => of);
await publisher((of) => of.packets > packets + 50);
steps.sessions = sessions.length;

/** Ends the session of the phone from elsewhere. */
const cut = () => context.request.delete(new URL(sessions.at(-1), url).href, { headers: { authorization: `Bearer ${token}` } });
await cut();
await stateOf(phone, "lost");
await stateOf(phone, "live");
steps.again = sessions.length;

// The phone sleeps, and its session ends meanwhile.
const devtools = await context.newCDPSession(phone);
await devtools.send("Page.setWebLifecycleState", { state: "frozen" });
await cut();
await phoneIs("idle");
await devtools.send("Page.setWebLifecycleState", { state: "active" });
await phoneIs("online");
await stateOf(phone, "live");
steps.awake = sessions.length;

const player = follow(await context.newPage());
await player.goto(`${url}cameras/phone/publish`);
steps.played = await player.evaluate(async () => {
  const peer = new RTCPeerConnection();
  peer.addTransceiver("video", { direction: "recvonly" });
  const video = document.createElement("video");
  video.muted = true;
  peer.ontrack = ({ track }) => {
    video.srcObject = new MediaStream([track]);
    video.play();
  };
  document.body.append(video);
  await peer.setLocalDescription();
  const answer = await fetch("/whep/phone", { method: "POST", headers: { "content-type": "application/sdp" }, body: peer.localDescription.sdp });
  if (answer.status !== 201) return { status: answer.status, problem: (await answer.json()).code };
  await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  const begun = Date.now();
  while (video.currentTime < 2 && Date.now() - begun < 30_000) await new Promise((done) => setTimeout(done, 100));
  const size = [video.videoWidth, video.videoHeight];
  const played = video.currentTime;
  const deleted = await fetch(answer.headers.get("location"), { method: "DELETE" });
  return { status: answer.status, time: played, size, deleted: deleted.status };
});

// On the page of the box, over the WebSocket.
await player.goto(url);
// As a person does, once the page stands.
await player.waitForSelector('.camera[data-camera="phone"] .picture > img');
await player.locator('.camera[data-camera="phone"] .live-open:enabled').press("Enter");
await player.waitForSelector("#live[open]", { timeout: PATIENCE_MS });
const shows = () => document.querySelector("#live[open] video")?.currentTime > 1;
await player.waitForFunction(shows, null, { timeout: 4 * PATIENCE_MS }).catch(async (error) => {
  const state = await player.evaluate(() => {
    const video = document.querySelector("#live video");
    const { currentTime, readyState, paused, hidden, error: failure } = video ?? {};
    const buffered = video && Array.from({ length: video.buffered.length }, (_, n) => [video.buffered.start(n), video.buffered.end(n)]);
    return { currentTime, readyState, paused, hidden, failure: failure?.message, buffered, live: document.querySelector("#live")?.dataset.live };
  });
  throw new Error(`the live view does not play: ${JSON.stringify(state)}`, { cause: error });
});
steps.liveView = await player.evaluate(() => document.querySelector("#live[open] video").videoWidth);
steps.facts = await player.textContent('.camera[data-camera="phone"]');
await player.keyboard.press("Escape");

steps.event = (await until("api/v1/events", ({ events }) => events.some(({ event }) => event.camera === "phone"))).events[0].event.label;
await until("api/v1/cameras/phone/timeline", ({ segments }) => segments.some(({ state }) => state === "closed"));

await phone.click("#end");
await stateOf(phone, "ended");
const away = (await phoneIs("idle")).cameras.find(({ name }) => name === "phone");
steps.away = away.reason;
steps.cause = [away.cause?.code, away.cause?.because?.code];

// A program that knows no H.264.
steps.vp8 = await phone.evaluate(async (authorization) => {
  const media = await navigator.mediaDevices.getUserMedia({ video: true });
  const peer = new RTCPeerConnection();
  const transceiver = peer.addTransceiver(media.getVideoTracks()[0], { direction: "sendonly" });
  transceiver.setCodecPreferences(RTCRtpSender.getCapabilities("video").codecs.filter(({ mimeType }) => mimeType === "video/VP8"));
  await peer.setLocalDescription();
  const answer = await fetch("/whip/phone", { method: "POST", headers: { "content-type": "application/sdp", authorization }, body: peer.localDescription.sdp });
  await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  window.other = { peer, session: answer.headers.get("location") };
  return answer.status;
}, `Bearer ${token}`);
await until("api/v1/status", ({ cameras }) => cameras.some(({ name, state, codec }) => name === "phone" && state === "online" && codec === "vp8"));
steps.vp8Played = await player.evaluate(async () => {
  const peer = new RTCPeerConnection();
  peer.addTransceiver("video", { direction: "recvonly" });
  await peer.setLocalDescription();
  const answer = await fetch("/whep/phone", { method: "POST", headers: { "content-type": "application/sdp" }, body: peer.localDescription.sdp });
  return [answer.status, (await answer.json()).code];
});
const ofH264 = (await until("api/v1/cameras/phone/timeline", () => true)).segments.length;
await until("api/v1/cameras/phone/timeline", ({ segments }) => segments.filter(({ state }) => state === "closed").length > ofH264);
steps.vp8Ended = await phone.evaluate(async (authorization) => {
  const answer = await fetch(window.other.session, { method: "DELETE", headers: { authorization } });
  return answer.status;
}, `Bearer ${token}`);

// A phone that does not publish is no fault; from the overview one comes to its page.
await phoneIs("idle");
await player.goto(url);
await player.waitForSelector('.camera[data-camera="phone"][data-state="idle"] a[href="/cameras/phone/publish"]:visible');
steps.headline = await player.textContent("#summary-text");
steps.level = (await until("api/v1/status", () => true)).summary.level;
// Another such camera is added on the page, which leads to where one publishes to it.
await player.goto(`${url}cameras`);
await player.click("#phone");
steps.adding = [await player.inputValue("#add-url"), await player.isDisabled("#try"), await player.isVisible("#add-user"), await player.isVisible("#phone-hint")];
await player.fill("#add-name", "tablet");
await player.click("#add-form button[type=submit]");
await player.waitForSelector('#outcome a[href="/cameras/tablet/publish"]', { timeout: 4 * PATIENCE_MS });
await look(player, "added");
await player.click("#outcome a");
await player.waitForFunction(() => document.title.includes("tablet"));
await player.click("#begin");
await stateOf(player, "live");
steps.tablet = (await until("api/v1/status", ({ cameras }) => cameras.some(({ name, state }) => name === "tablet" && state === "online"))).cameras.length;
await player.click("#end");
await player.goto(`${url}cameras/nothing/publish`);
await player.click("#begin");
await stateOf(player, "no_such");
console.log(JSON.stringify(seen));
await browser.close();
