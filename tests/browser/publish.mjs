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
// The second publisher is refused, which Chromium puts on its console.
const { seen, follow, look } = makeObserver({ isAnswer: (status) => status === 409 || status === 401 });
const { steps } = seen;
const context = await browser.newContext({ viewport: { width: 390, height: 844 } });

const stateOf = (page, state) => page.waitForFunction((wanted) => document.getElementById("state").dataset.key === wanted, `publish.${state}`, { timeout: 2 * PATIENCE_MS });
const text = (page) => page.textContent("#state");

const phone = follow(await context.newPage());
await phone.goto(`${url}cameras/phone/publish#token=${token}`);
await look(phone, "idle");
steps.wide = await phone.evaluate(() => document.documentElement.scrollWidth <= innerWidth);
await phone.click("#begin");
await stateOf(phone, "live");
await phone.waitForFunction(() => document.getElementById("preview").currentTime > 0.5);
steps.live = await text(phone);
await look(phone, "live");

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

steps.event = (await until("api/v1/events", ({ events }) => events.some(({ event }) => event.camera === "phone"))).events[0].event.label;
await until("api/v1/cameras/phone/timeline", ({ segments }) => segments.some(({ state }) => state === "closed"));

await phone.click("#end");
await stateOf(phone, "ended");
const away = (await phoneIs("offline")).cameras.find(({ name }) => name === "phone");
steps.away = away.reason;

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
console.log(JSON.stringify(seen));
await browser.close();
