// Publishes the camera of this phone or browser by WHIP until it is ended. After a loss of the network, a change of it and
// after sleep it begins again by itself.

import { t } from "./texts.js";

const [title, hint, preview, state, facing, begin, end] = ["title", "hint", "preview", "state", "facing", "begin", "end"].map((id) => document.getElementById(id));
const camera = location.pathname.split("/")[2];
// Behind #, so that it is never sent by itself and stands in no log on the way.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const authorization = token ? { authorization: `Bearer ${token}` } : {};

let wanted, media, peer, session, timer, awake, moving;
/** Count connections and openings of the camera: what comes of one that was ended meanwhile is ended, too. */
let [round, openings] = [0, 0];
title.textContent = document.title = t("publish.to", { camera: decodeURIComponent(camera) });

function say(key, values) {
  state.textContent = t(key, values);
  state.dataset.key = key;
  end.hidden = !wanted;
  begin.hidden = wanted;
  preview.hidden = !media;
  hint.hidden = Boolean(media);
}

const release = (stream) => stream?.getTracks().forEach((track) => track.stop());

/** Opens the camera that is chosen. False where it was ended meanwhile. */
async function open() {
  const mine = ++openings;
  const asked = navigator.mediaDevices.getUserMedia({ video: { facingMode: facing.value, width: 1280, height: 720 } });
  const stream = await asked.catch((error) => {
    if (mine === openings) throw error;
  });
  if (mine !== openings) {
    release(stream);
    return false;
  }
  media = preview.srcObject = stream;
  stream.getTracks()[0].addEventListener("ended", comeBack);
  return true;
}

/** Opens the camera again, or another one, and goes on with the session. */
async function reopen() {
  // Phones open one camera at a time.
  release(media);
  try {
    if (await open()) await peer?.getSenders()[0]?.replaceTrack(media.getTracks()[0]);
  } catch ({ message }) {
    if (wanted) stop("publish.camera_gone", { reason: message });
  }
}

/** A camera that was unplugged or taken away is opened again, as soon as the page is looked at. */
function comeBack() {
  if (media?.getTracks()[0].readyState === "ended" && !document.hidden) reopen();
}

/** Keeps the screen on: a phone that sleeps sends nothing. */
async function stayAwake() {
  if (!wanted || document.hidden) return;
  awake = await navigator.wakeLock?.request("screen").catch(() => null);
  if (!wanted) awake?.release();
}

const endSession = (address) => fetch(address, { method: "DELETE", headers: authorization }).catch(() => {});

async function connect() {
  const mine = round;
  const of = new RTCPeerConnection();
  peer = of;
  const { sender } = of.addTransceiver(media.getTracks()[0], { direction: "sendonly" });
  // Another size would begin another file.
  sender.setParameters({ ...sender.getParameters(), degradationPreference: "maintain-resolution" }).catch(() => {});
  await of.setLocalDescription();
  if (mine !== round) return of.close();
  // The box answers whatever address packets come from, so none has to be gathered before.
  const answer = await fetch(`/whip/${camera}`, { method: "POST", headers: { "content-type": "application/sdp", ...authorization }, body: of.localDescription.sdp });
  if (!answer.ok) throw { status: answer.status, message: (await answer.json()).detail };
  const begun = answer.headers.get("location");
  const sdp = await answer.text();
  if (mine !== round) {
    await endSession(begun);
    return of.close();
  }
  session = begun;
  await of.setRemoteDescription({ type: "answer", sdp });
  of.onconnectionstatechange = () => {
    if (of !== peer) return;
    if (of.connectionState === "connected") return say("publish.live");
    if (of.connectionState === "connecting") return;
    say("publish.lost");
    again(3000);
  };
}

/** Goes on with the session from the addresses that the device has now: an ICE restart. Throws where the box does not. */
async function move() {
  const of = peer;
  const before = of.remoteDescription.sdp;
  of.restartIce();
  await of.setLocalDescription();
  const fragment = of.localDescription.sdp.split("\r\n").filter((line) => /^(m=|a=mid|a=ice-)/.test(line)).join("\r\n");
  const answer = await fetch(session, { method: "PATCH", headers: { "content-type": "application/trickle-ice-sdpfrag", "if-match": "*", ...authorization }, body: `${fragment}\r\n` });
  if (answer.status !== 200) throw answer;
  const piece = await answer.text();
  const value = (text, key) => text.match(`a=ice-${key}:(\\S+)`)[1];
  // Candidates have the name, too.
  const moved = ["ufrag", "pwd"].reduce((sdp, key) => sdp.replaceAll(value(before, key), value(piece, key)), before);
  await of.setRemoteDescription({ type: "answer", sdp: moved });
}

async function hangUp() {
  round += 1;
  clearTimeout(timer);
  const [of, from] = [peer, session];
  peer = session = null;
  // A peer that closes first ends the session by itself, and there is none to delete any more.
  if (from) await endSession(from);
  of?.close();
}

/** Begins again after `wait`, unless it goes on until then. */
function again(wait) {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    const of = peer;
    const isDone = () => !wanted || !media || of !== peer || of?.connectionState === "connected";
    if (isDone()) return;
    // The session goes on where only the way to it is another one.
    if (session && !moving && of?.connectionState !== "closed") {
      moving = true;
      const isMoved = await move().then(() => true, () => false);
      if (isMoved) await new Promise((done) => setTimeout(done, 3000));
      moving = false;
    }
    if (moving || isDone()) return;
    hangUp();
    run(true);
  }, wait);
}

async function run(isAgain) {
  const mine = round;
  try {
    await connect();
  } catch ({ status, message }) {
    if (mine !== round) return;
    // One's own session from before gives way after a few seconds.
    if (isAgain || !status || status > 428) {
      say("publish.lost");
      again(3000);
    } else {
      stop(status === 409 ? "publish.taken" : status === 401 ? "publish.not_allowed" : status === 404 ? "publish.no_such" : "publish.refused", { reason: message });
    }
  }
}

function stop(key, values) {
  openings += 1;
  wanted = false;
  hangUp();
  awake?.release();
  release(media);
  media = preview.srcObject = null;
  say(key, values);
}

begin.addEventListener("click", async () => {
  if (!navigator.mediaDevices) return say("publish.insecure");
  wanted = true;
  say("publish.connecting");
  try {
    if (!(await open())) return;
    stayAwake();
  } catch ({ name, message }) {
    return stop(name === "NotAllowedError" ? "publish.denied" : "publish.refused", { reason: message });
  }
  run(false);
});
end.addEventListener("click", () => stop("publish.ended"));
facing.addEventListener("change", () => media && reopen());
for (const act of [stayAwake, comeBack]) document.addEventListener("visibilitychange", act);
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
// The network is back, or the phone is awake.
for (const event of ["online", "visibilitychange"]) addEventListener(event, () => again(0));
begin.disabled = false;
