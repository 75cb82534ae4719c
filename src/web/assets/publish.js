// Publishes the camera of this phone or browser by WHIP until it is ended. After a loss of the network, a change of it and
// after sleep it begins again by itself.

import { t } from "./texts.js";

const [preview, state, facing, begin, end] = document.querySelectorAll("main [id]");
const camera = location.pathname.split("/")[2];
// Behind #, so that it is never sent by itself and stands in no log on the way.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const authorization = token ? { authorization: `Bearer ${token}` } : {};

let wanted, media, peer, session, timer;

function say(key, values) {
  state.textContent = t(key, values);
  state.dataset.key = key;
  end.hidden = !wanted;
  begin.hidden = wanted;
}

async function connect() {
  const of = new RTCPeerConnection();
  peer = of;
  of.addTransceiver(media.getTracks()[0], { direction: "sendonly" });
  await of.setLocalDescription();
  // The box answers whatever address packets come from, so none has to be gathered before.
  const answer = await fetch(`/whip/${camera}`, { method: "POST", headers: { "content-type": "application/sdp", ...authorization }, body: of.localDescription.sdp });
  if (!answer.ok) throw { status: answer.status, message: (await answer.json()).detail };
  session = answer.headers.get("location");
  await of.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  of.onconnectionstatechange = () => {
    if (of !== peer) return;
    if (of.connectionState === "connected") return say("publish.live");
    if (of.connectionState === "connecting") return;
    say("publish.lost");
    again(3000);
  };
}

async function hangUp() {
  clearTimeout(timer);
  const [of, from] = [peer, session];
  peer = session = null;
  // A peer that closes first ends the session by itself, and there is none to delete any more.
  if (from) await fetch(from, { method: "DELETE", headers: authorization }).catch(() => {});
  of?.close();
}

/** Begins again after `wait`, unless it goes on until then. */
function again(wait) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    if (!wanted || !media || peer?.connectionState === "connected") return;
    hangUp();
    run(true);
  }, wait);
}

async function run(isAgain) {
  try {
    await connect();
  } catch ({ status, message }) {
    // One's own session from before gives way after a few seconds.
    if (isAgain || !status || status > 428) {
      say("publish.lost");
      again(3000);
    } else {
      stop(status === 409 ? "publish.taken" : status === 401 ? "publish.not_allowed" : "publish.refused", { reason: message });
    }
  }
}

function stop(key, values) {
  wanted = false;
  hangUp();
  media?.getTracks().forEach((track) => track.stop());
  media = preview.srcObject = null;
  say(key, values);
}

begin.addEventListener("click", async () => {
  if (!navigator.mediaDevices) return say("publish.insecure");
  wanted = true;
  say("publish.connecting");
  try {
    media = preview.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: facing.value, width: 1280, height: 720 } });
  } catch ({ name, message }) {
    return stop(name === "NotAllowedError" ? "publish.denied" : "publish.refused", { reason: message });
  }
  run(false);
});
end.addEventListener("click", () => stop("publish.ended"));
// The network is back, or the phone is awake.
for (const event of ["online", "visibilitychange"]) addEventListener(event, () => again(0));
begin.disabled = false;
