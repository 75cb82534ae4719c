// One camera's video in one <video>, or its pictures in one <img> where video cannot be played.
//
// The box sends a JSON text, then a header and fragments of an MP4 file, and texts with what was seen. Times are seconds
// on the box's boot clock; the video begins at 0, which is `origin` on that clock.

const Source = window.MediaSource ?? window.ManagedMediaSource;

/** The picture is kept this close to the newest one, and jumps there when it is farther behind than MOST_BEHIND. */
const AIM_S = 0.6;
const MOST_BEHIND_S = 3;
/** Faster by so little is not noticed. */
const CATCH_UP = 1.08;
/** What was played is kept for so long. */
const KEEP_S = 12;
const KEEP_LOOKS_S = 30;
/** A picture that stands for so long is frozen; a connection that gives nothing for so long is made again. */
const FROZEN_S = 4;
const SILENT_MS = 30000;
/** What waits to be appended, bytes: a browser that does not keep up begins again. */
const MOST_WAITING = 24 << 20;
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 15000;
const LOOK_EVERY_MS = 500;
/** Video that was played for so long works; a browser that stumbles so often before does not play it. */
const WORKS_S = 3;
const MOST_ERRORS = 3;

const isPlayable = (type) => Boolean(Source?.isTypeSupported(type));
const mediaType = (codec) => `video/mp4; codecs="${codec}"`;

export class LivePlayer {
  #wanted = false;
  #socket = null;
  #media = null;
  #buffer = null;
  #waiting = [];
  #waitingBytes = 0;
  #header = null;
  #type = "";
  #tries = 0;
  #errors = 0;
  #retry = null;
  #look = null;
  #heardAt = 0;
  #moved = { time: -1, at: 0 };
  #state = "";
  #connections = 0;

  /**
   * `onState(name, seconds, why)` is called when that changes. Without `pictures` nothing is shown where there is no video:
   * a browser has few connections for streams of pictures.
   */
  constructor({ camera, video, image, onState, pictures }) {
    Object.assign(this, { camera, video, image, onState, pictures, looks: [], pipelineLooks: [], outlines: null, origin: 0 });
    this.path = `/api/v1/cameras/${encodeURIComponent(camera)}/live`;
    this.byPictures = false;
    this.#listen();
  }

  #listen() {
    this.video.addEventListener("error", () => this.#media && this.#stumble());
    this.image.addEventListener("error", () => this.byPictures && this.image.hasAttribute("src") && this.#lost());
    this.wake = () => {
      if (!this.#wanted) return;
      // What was connected before a phone slept looks connected for long.
      if (document.hidden) this.#drop();
      else this.#connect();
    };
  }

  /** Plays until it is stopped. `codec` is what the box calls the camera's coding, as far as that is known. */
  start(codec) {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#tries = this.#errors = 0;
    this.codec = codec;
    document.addEventListener("visibilitychange", this.wake);
    window.addEventListener("online", this.wake);
    this.#look = setInterval(() => this.#watch(), LOOK_EVERY_MS);
    this.#connect();
  }

  stop() {
    this.#wanted = false;
    document.removeEventListener("visibilitychange", this.wake);
    window.removeEventListener("online", this.wake);
    clearInterval(this.#look);
    this.#drop();
    // Lets go of the decoder.
    this.video.removeAttribute("src");
    this.video.load();
    this.#say("");
  }

  /** The time on the box's clock of the picture that is shown at `time`. */
  boxTime(time = this.video.currentTime) {
    return this.origin + time;
  }

  #connect() {
    this.#drop();
    if (!this.#wanted || document.hidden) return;
    this.#connections += 1;
    this.#heardAt = performance.now();
    const isVideo = !this.codec || /^H\.26[45]$/.test(this.codec);
    if (!isVideo) return this.#showPictures("camera", this.codec);
    if (!Source) return this.#showPictures("nothing");
    if (this.byPictures) return this.#showPictures(...this.byPictures);
    this.#say(this.#tries > 0 ? "lost" : "connecting");
    const url = new URL(this.path, location.href);
    url.protocol = url.protocol.endsWith("s:") ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    socket.addEventListener("message", ({ data }) => socket === this.#socket && this.#take(data));
    socket.addEventListener("close", () => socket === this.#socket && this.#closed());
    this.#socket = socket;
  }

  /** Lets go of the connection; the last picture stays. */
  #drop() {
    clearTimeout(this.#retry);
    this.#retry = null;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    this.image.removeAttribute("src");
    this.#media = this.#buffer = this.#header = null;
    this.#waiting = [];
    this.#waitingBytes = 0;
  }

  #take(data) {
    this.#heardAt = performance.now();
    if (typeof data !== "string") return this.#append(data);
    const message = JSON.parse(data);
    if (message.codec) this.#begin(message);
    else if (message.objects) this.#see(message);
    else if (message.zones) this.outlines = message;
  }

  #begin(header) {
    const type = mediaType(header.codec);
    if (!isPlayable(type)) return this.#showPictures("browser", header.codec);
    const isFirst = this.#header === null;
    this.#header = { ...header, at: performance.now() };
    if (!isFirst) {
      if (type !== this.#type) this.#waiting.push(type);
      this.#type = type;
      return undefined;
    }
    this.#type = type;
    this.origin = header.start;
    this.looks = [];
    this.pipelineLooks = [];
    this.#moved = { time: -1, at: performance.now() };
    const media = new Source();
    this.#media = media;
    media.addEventListener("sourceopen", () => media === this.#media && this.#open(media), { once: true });
    const url = URL.createObjectURL(media);
    this.image.hidden = true;
    this.video.hidden = false;
    // iOS plays a ManagedMediaSource only where nothing else may play it.
    this.video.disableRemotePlayback = true;
    this.video.src = url;
    media.addEventListener("sourceopen", () => URL.revokeObjectURL(url), { once: true });
    return undefined;
  }

  #open(media) {
    const buffer = media.addSourceBuffer(this.#type);
    buffer.timestampOffset = -this.origin;
    buffer.addEventListener("updateend", () => {
      if (buffer !== this.#buffer) return;
      this.#chase();
      this.#pump();
    });
    this.#buffer = buffer;
    this.#pump();
  }

  #append(data) {
    if (!this.#header) return;
    this.#waiting.push(data);
    this.#waitingBytes += data.byteLength;
    if (this.#waitingBytes > MOST_WAITING) this.#lost();
    else this.#pump();
  }

  #pump() {
    const buffer = this.#buffer;
    if (!buffer || this.#media.readyState !== "open") return;
    while (this.#waiting.length > 0 && !buffer.updating) {
      const next = this.#waiting.shift();
      try {
        if (typeof next === "string") {
          buffer.changeType(next);
        } else {
          this.#waitingBytes -= next.byteLength;
          buffer.appendBuffer(next);
        }
      } catch {
        // Full, or no longer open.
        this.#lost();
        return;
      }
    }
  }

  /** Keeps the picture close to the newest one, and forgets what was played. */
  #chase() {
    const { video } = this;
    const { buffered } = this.#buffer;
    if (buffered.length === 0) return;
    const [start, end] = [buffered.start(buffered.length - 1), buffered.end(buffered.length - 1)];
    const behind = end - video.currentTime;
    const isOutside = video.currentTime < start || behind < -0.1;
    const begins = video.currentTime === 0 && behind > 2 * AIM_S;
    if (isOutside || begins || behind > MOST_BEHIND_S) video.currentTime = Math.max(start, end - AIM_S);
    video.playbackRate = behind > 2.5 * AIM_S ? CATCH_UP : 1;
    if (video.paused) video.play().catch(() => {});
    const until = video.currentTime - KEEP_S;
    if (!this.#buffer.updating && buffered.start(0) < until - KEEP_S) this.#buffer.remove(0, until);
    if (video.currentTime > WORKS_S) this.#tries = this.#errors = 0;
  }

  #see(look) {
    const looks = look.pipeline ? this.pipelineLooks : this.looks;
    looks.push(look);
    while (looks.length > 0 && looks[0].at < look.at - KEEP_LOOKS_S) looks.shift();
    if (look.pipeline) this.onPipeline?.(look.pipeline);
  }

  /** Says how far behind the picture is. */
  #watch() {
    if (document.hidden) return;
    const now = performance.now();
    if (this.byPictures || !this.#header) {
      if (this.#socket && now - this.#heardAt > SILENT_MS) this.#lost();
      return;
    }
    const { video } = this;
    if (video.currentTime !== this.#moved.time) this.#moved = { time: video.currentTime, at: now };
    const behind = this.#header.now + (now - this.#header.at) / 1000 - this.boxTime();
    const still = (now - this.#moved.at) / 1000;
    if (now - this.#heardAt > SILENT_MS) this.#lost();
    else if (still > FROZEN_S || video.readyState < 2) this.#say(still > FROZEN_S ? "frozen" : "connecting", Math.max(still, behind));
    else this.#say(behind > MOST_BEHIND_S ? "behind" : "live", behind);
  }

  /** Single pictures, for the reason `why`. */
  #showPictures(...why) {
    this.#drop();
    this.byPictures = why;
    this.video.hidden = true;
    this.image.hidden = !this.pictures;
    if (this.pictures) this.image.src = `${this.path}.mjpeg?n=${Date.now()}-${this.#connections}`;
    this.#say("pictures", 0, why);
  }

  /** The browser could not decode something. */
  #stumble() {
    this.#errors += 1;
    if (this.#errors < MOST_ERRORS) this.#lost();
    else this.#showPictures("browser", this.#header?.codec ?? this.#type);
  }

  /** The connection ended; asks why where it never gave anything. */
  async #closed() {
    if (this.#header) return this.#lost();
    const mine = this.#connections;
    const answer = await fetch(this.path, { signal: AbortSignal.timeout(5000) }).then((response) => response.json(), () => null);
    if (mine !== this.#connections || !this.#wanted) return undefined;
    const code = answer?.error?.code ?? answer?.code;
    if (code === "no_video") return this.#showPictures("camera", "no H.264 or H.265");
    const states = { no_picture: "silent", too_many_viewers: "full", not_found: "gone" };
    return this.#lost(states[code]);
  }

  /** Connects again after a pause that grows. */
  #lost(state = "lost") {
    this.#drop();
    if (!this.#wanted) return;
    const pause = Math.min(FIRST_PAUSE_MS * 2 ** this.#tries, LONGEST_PAUSE_MS) * (0.75 + Math.random() / 2);
    this.#tries += 1;
    this.#say(state);
    this.#retry = setTimeout(() => this.#connect(), pause);
  }

  #say(state, seconds = 0, why = null) {
    const text = `${state} ${Math.round(seconds)}`;
    if (text === this.#state) return;
    this.#state = text;
    this.onState(state, seconds, why);
  }
}
