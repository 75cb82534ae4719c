// Changes of the library that come from elsewhere, while the page is looked at.

const PAUSE_MS = 1000;
const LATER_MS = 30000;

/** Calls `act` with the ids of photos that came, went or are others, or with null where it may be any. One call at a time. */
export function follow(act) {
  let stream = null;
  let wasOpen = false;
  let changed = new Set();
  let isBusy = false;

  async function note(ids) {
    changed = ids && changed && new Set([...changed, ...ids]);
    if (isBusy) return;
    isBusy = true;
    const [begun, now] = [performance.now(), changed];
    changed = new Set();
    await act(now).catch(() => {});
    // While an import goes on, this takes a small part of the time.
    setTimeout(() => {
      isBusy = false;
      if (changed?.size !== 0) note([]);
    }, PAUSE_MS + 9 * (performance.now() - begun));
  }

  function connect() {
    if (document.hidden) {
      stream?.close();
      stream = null;
    }
    if (document.hidden || stream) return;
    stream = new EventSource("/api/v1/stream?kinds=photos");
    stream.addEventListener("open", () => {
      if (wasOpen) note(null);
      wasOpen = true;
    });
    stream.addEventListener("photos", ({ data }) => {
      const kinds = Object.values(JSON.parse(data));
      note(kinds.every(({ count, ids }) => ids?.length === count) ? kinds.flatMap(({ ids }) => ids) : null);
    });
    stream.addEventListener("error", () => {
      // A browser does not try again by itself where the answer was no stream.
      if (stream?.readyState !== EventSource.CLOSED) return;
      stream = null;
      setTimeout(connect, LATER_MS);
    });
  }

  document.addEventListener("visibilitychange", connect);
  connect();
}
