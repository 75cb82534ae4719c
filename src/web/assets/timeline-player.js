// Plays a camera's past: piece by piece, over the seams between files and the gaps between recordings.
//
// Each piece is a whole file, which the browser seeks in by itself. Two elements take turns: while one plays, the other
// loads what comes next. So all browsers play it, a change of size or coding costs nothing, and no file is fetched that is
// not played.

const AHEAD_MS = 2 * 3600 * 1000;
const BEHIND_MS = 60 * 1000;
/** What is missed between two files without a word. */
const SEAM_MS = 1500;
const USUAL_FRAME_S = 0.04;

export class Player {
  /** `on` hears of the time (`time`), of what happens (`gap`, `end`, `nothing`, `failed`), and whether it plays (`state`). */
  constructor(videos, on) {
    this.videos = videos;
    this.on = on;
    this.camera = null;
    this.at = null;
    this.pieces = [];
    this.covers = [0, 0];
    this.piece = null;
    this.playing = false;
    this.rate = 1;
    this.frame = USUAL_FRAME_S;
    this.turn = 0;
    for (const video of videos) {
      video.addEventListener("timeupdate", () => this.follow(video));
      video.addEventListener("ended", () => video === this.video && this.advance());
      video.addEventListener("error", () => video === this.video && video.hasAttribute("src") && this.passOver());
      video.addEventListener("seeked", () => video === this.video && this.shown());
    }
  }

  get video() {
    return this.videos[0];
  }

  /** Goes to `time`, milliseconds, of `camera`; plays on where it played. */
  async seek(camera, time) {
    const turn = (this.turn += 1);
    const isOther = camera !== this.camera;
    this.camera = camera;
    this.at = time;
    if (isOther || time < this.covers[0] || time >= this.covers[1]) {
      this.video.pause();
      await this.load(time);
      if (turn !== this.turn) return;
    }
    const piece = this.pieces.find((candidate) => candidate.until > time);
    if (!piece) {
      this.piece = null;
      this.on.nothing(time);
      return;
    }
    if (piece.from > time + SEAM_MS) this.on.gap(time, piece.from);
    this.show(piece, Math.max(time, piece.from));
  }

  async load(time) {
    const [since, until] = [time - BEHIND_MS, time + AHEAD_MS];
    const query = new URLSearchParams({ since: new Date(since).toISOString(), until: new Date(until).toISOString() });
    try {
      const response = await fetch(`/api/v1/cameras/${encodeURIComponent(this.camera)}/video?${query}`);
      if (!response.ok) throw new Error(String(response.status));
      const { pieces, next } = await response.json();
      this.pieces = pieces.map((piece) => ({ ...piece, from: Date.parse(piece.from), until: Date.parse(piece.until) }));
      // What is recorded from now on comes with the next answer.
      const last = this.pieces.at(-1)?.until ?? since;
      this.covers = [since, next ? Date.parse(next) : Math.min(until, Math.max(last, Date.now() - BEHIND_MS))];
    } catch {
      [this.pieces, this.covers] = [[], [0, 0]];
      this.on.failed();
    }
  }

  show(piece, time) {
    if (this.videos[1].dataset.url === piece.url && this.video.dataset.url !== piece.url) this.swap();
    const { video } = this;
    this.piece = piece;
    this.at = time;
    const offset = piece.offset_s + (time - piece.from) / 1000;
    if (video.dataset.url !== piece.url) {
      video.dataset.url = piece.url;
      video.src = piece.url;
    }
    const go = () => {
      if (video !== this.video || this.piece !== piece) return;
      if (Math.abs(video.currentTime - offset) > 0.001) video.currentTime = offset;
      else this.shown();
      video.playbackRate = this.rate;
      if (this.playing) video.play().catch(() => null);
    };
    if (video.readyState >= 1) go();
    else video.addEventListener("loadedmetadata", go, { once: true });
  }

  swap() {
    this.videos.reverse();
    const [front, back] = this.videos;
    front.hidden = false;
    front.removeAttribute("aria-hidden");
    back.hidden = true;
    back.setAttribute("aria-hidden", "true");
    back.pause();
  }

  /** Loads what comes next, so that it begins at once. */
  prepare() {
    const next = this.following();
    const [, back] = this.videos;
    if (!next || back.dataset.url === next.url) return;
    back.dataset.url = next.url;
    back.src = next.url;
    back.addEventListener("loadedmetadata", () => {
      if (back !== this.video && back.dataset.url === next.url) back.currentTime = next.offset_s;
    }, { once: true });
  }

  following() {
    return this.pieces[this.pieces.indexOf(this.piece) + 1];
  }

  shown() {
    this.on.time(this.at);
    this.prepare();
  }

  follow(video) {
    if (video !== this.video || !this.piece || video.seeking || video.dataset.url !== this.piece.url) return;
    this.at = this.piece.from + (video.currentTime - this.piece.offset_s) * 1000;
    this.on.time(this.at);
    if (this.playing && this.at >= this.piece.until) this.advance();
  }

  async advance() {
    const { piece } = this;
    if (!piece) return;
    let next = this.following();
    if (!next) {
      const turn = this.turn;
      await this.load(piece.until);
      if (turn !== this.turn || piece !== this.piece) return;
      next = this.pieces.find((candidate) => candidate.from >= piece.until - 1 && candidate.url !== piece.url);
    }
    if (!next) {
      this.pause();
      this.on.end();
      return;
    }
    if (next.from - piece.until > SEAM_MS) this.on.gap(piece.until, next.from);
    this.show(next, next.from);
  }

  /** A file that is gone or damaged is no reason to stop. */
  passOver() {
    this.on.failed();
    if (this.playing) this.advance();
  }

  play() {
    if (!this.piece) return;
    this.playing = true;
    this.video.playbackRate = this.rate;
    if (this.at >= this.piece.until) this.advance();
    else this.video.play().catch(() => null);
    this.on.state(true);
    this.measure();
  }

  pause() {
    this.playing = false;
    this.video.pause();
    this.on.state(false);
  }

  setRate(rate) {
    this.rate = rate;
    this.video.playbackRate = rate;
  }

  /** Learns how long a picture is shown, for steps of one; and says the time with each. */
  measure() {
    let before = null;
    const { video } = this;
    const look = (_, { mediaTime }) => {
      const step = before === null ? 0 : mediaTime - before;
      if (step > 0.004 && step < 1) this.frame = step;
      before = mediaTime;
      this.follow(video);
      if (this.playing && video === this.video) video.requestVideoFrameCallback(look);
      else if (this.playing) this.measure();
    };
    video.requestVideoFrameCallback?.(look);
  }

  /** One picture on, or back. */
  step(direction) {
    this.pause();
    if (this.piece) this.seek(this.camera, this.at + direction * this.frame * 1000);
  }
}
