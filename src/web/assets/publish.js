// Publishes the camera of this phone or browser by WHIP until it is ended. After a loss of the network, a change of it and
// after sleep it begins again by itself.

import { t } from "./texts.js";

const [preview, state, facing, begin, end, login] = ["preview", "state", "facing", "begin", "end", "login"].map((id) => document.getElementById(id));
const camera = decodeURIComponent(location.pathname.split("/")[2] ?? "");
const address = `/whip/${encodeURIComponent(camera)}`;
// Behind #, so that it is never sent by itself and stands in no log on the way.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const authorization = token ? { authorization: `Bearer ${token}` } : {};

const LONGEST_PAUSE_MS = 15_000;
const GATHERED_WITHIN_MS = 1_000;
const BACK_WITHIN_MS = 4_000;
const MOST_BITS = 4_000_000;

let wanted = false;
let media = null;
let peer = null;
let session = null;
let pause = 1_000;
let timer = 0;
let awake = null;

document.getElementById("camera").textContent = camera;

function say(key, values, bad = false) {
  state.textContent = t(key, values);
  state.classList.toggle("bad", bad);
  document.body.dataset.state = key.split(".")[1];
}

function show() {
  begin.hidden = wanted;
  end.hidden = !wanted;
}

const UNUSABLE = { NotAllowedError: "publish.denied", SecurityError: "publish.denied", NotFoundError: "publish.no_camera", OverconstrainedError: "publish.no_camera", NotReadableError: "publish.in_use", AbortError: "publish.in_use" };

/** The device's camera that is chosen. */
async function open() {
  const video = { facingMode: { ideal: facing.value }, width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 25, max: 30 } };
  const opened = await navigator.mediaDevices.getUserMedia({ video, audio: false });
  media?.getTracks().forEach((track) => track.stop());
  media = opened;
  preview.srcObject = opened;
  opened.getVideoTracks()[0].onended = () => stop("publish.camera_gone");
  return opened.getVideoTracks()[0];
}

/** What the box records as it is comes first. */
function prefer(transceiver) {
  const codecs = RTCRtpSender.getCapabilities?.("video")?.codecs ?? [];
  const rank = ({ mimeType, sdpFmtpLine }) => mimeType === "video/H264" ? (sdpFmtpLine?.includes("packetization-mode=1") ? 0 : 3) : mimeType === "video/VP8" ? 1 : 2;
  const taken = codecs.filter(({ mimeType }) => ["video/H264", "video/VP8", "video/rtx"].includes(mimeType));
  if (taken.length) transceiver.setCodecPreferences?.(taken.sort((one, two) => rank(one) - rank(two)));
}

const gathered = (of) => new Promise((resolve) => {
  const look = () => of.iceGatheringState === "complete" && resolve();
  of.onicegatheringstatechange = look;
  setTimeout(resolve, GATHERED_WITHIN_MS);
  look();
});

async function connect() {
  const track = media?.getVideoTracks()[0];
  const of = new RTCPeerConnection();
  peer = of;
  const transceiver = of.addTransceiver(track, { direction: "sendonly", streams: [media] });
  prefer(transceiver);
  await of.setLocalDescription();
  await gathered(of);
  const answer = await fetch(address, { method: "POST", headers: { "content-type": "application/sdp", ...authorization }, body: of.localDescription.sdp });
  if (!answer.ok) throw Object.assign(new Error((await answer.json().catch(() => ({}))).detail ?? ""), { status: answer.status });
  session = answer.headers.get("location");
  await of.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  // Fewer pictures rather than smaller ones: another size begins another file of a clip.
  const parameters = transceiver.sender.getParameters();
  parameters.degradationPreference = "maintain-resolution";
  for (const encoding of parameters.encodings) encoding.maxBitrate = MOST_BITS;
  await transceiver.sender.setParameters(parameters).catch(() => {});
  of.onconnectionstatechange = () => {
    if (of !== peer) return;
    if (of.connectionState === "connected") {
      pause = 1_000;
      say("publish.live", { camera });
    } else if (of.connectionState === "disconnected") {
      say("publish.lost");
      again(BACK_WITHIN_MS, () => of.connectionState !== "connected");
    } else if (of.connectionState === "failed") {
      again(0);
    }
  };
}

function hangUp() {
  clearTimeout(timer);
  const of = peer;
  // A peer that closes first ends the session by itself, and there is none to delete any more.
  const ended = session && fetch(session, { method: "DELETE", headers: authorization, keepalive: true });
  [peer, session] = [null, null];
  Promise.resolve(ended).catch(() => {}).finally(() => of?.close());
}

/** Begins again after `wait`, if that is needed then. */
function again(wait = pause, isNeeded = () => true) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    if (!wanted || !isNeeded()) return;
    hangUp();
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    run(true);
  }, wait);
}

const REFUSED = { 401: "publish.not_allowed", 403: "publish.not_allowed", 404: "publish.unknown", 409: "publish.taken" };

async function run(isAgain) {
  try {
    say(isAgain ? "publish.again" : "publish.connecting");
    await connect();
  } catch (error) {
    if (!wanted) return;
    const status = error.status ?? 0;
    // One's own session from before gives way after a few seconds.
    if (status === 0 || status >= 500 || status === 429 || (status === 409 && isAgain)) {
      hangUp();
      say("publish.lost");
      again();
      return;
    }
    login.hidden = status !== 401 && status !== 403;
    stop(REFUSED[status] ?? "publish.refused", { camera, reason: error.message });
  }
}

async function start() {
  login.hidden = true;
  if (!window.isSecureContext || !navigator.mediaDevices?.getUserMedia) return say("publish.insecure", {}, true);
  if (!window.RTCPeerConnection) return say("publish.no_webrtc", {}, true);
  wanted = true;
  show();
  say("publish.asking");
  try {
    await open();
  } catch (error) {
    return stop(UNUSABLE[error.name] ?? "publish.refused", { reason: error.message });
  }
  awake = await navigator.wakeLock?.request("screen").catch(() => null);
  pause = 1_000;
  await run(false);
}

function stop(key, values) {
  wanted = false;
  hangUp();
  awake?.release();
  media?.getTracks().forEach((track) => track.stop());
  media = null;
  preview.srcObject = null;
  show();
  say(key, values, key !== "publish.ended");
}

begin.addEventListener("click", start);
end.addEventListener("click", () => stop("publish.ended"));
facing.addEventListener("change", async () => {
  if (!wanted) return;
  try {
    const track = await open();
    await peer?.getSenders().find((sender) => sender.track?.kind === "video")?.replaceTrack(track);
  } catch (error) {
    stop(UNUSABLE[error.name] ?? "publish.refused", { reason: error.message });
  }
});
addEventListener("online", () => wanted && again(0, () => peer?.connectionState !== "connected"));
document.addEventListener("visibilitychange", async () => {
  if (!wanted || document.hidden) return;
  awake = await navigator.wakeLock?.request("screen").catch(() => null);
  again(0, () => peer?.connectionState !== "connected");
});
addEventListener("pagehide", hangUp);
begin.disabled = false;
