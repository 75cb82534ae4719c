// A selected span as one file: asked for, followed, downloaded. The box sends how far each is; where it does not, it is
// asked.

import { byId, element, setText } from "./dom.js";
import { send } from "./form.js";
import { bytes, duration, typed, when } from "./format.js";
import { locale, named, t } from "./texts.js";

const SOON_MS = 1000;
const LATER_MS = 30000;
let timer = 0;
let stream = null;
let all = [];

/** A key under which the box carries out a command once. `crypto.randomUUID` needs HTTPS, which a box may not have. */
const key = () => [...crypto.getRandomValues(new Uint8Array(16))].map((n) => n.toString(16).padStart(2, "0")).join("");

function row(one) {
  const clock = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" });
  const what = `${one.camera}, ${clock.formatRange(new Date(one.from), new Date(one.until))}`;
  const state = element("span", { class: one.state === "failed" ? "bad" : "quiet" });
  const doing = element("div", { class: "tl-do" }, state);
  const item = element("li", {}, element("div", { class: "tl-what" }, what), doing);
  item.dataset.state = one.state;
  if (one.state === "done") {
    setText(state, t("timeline.export_done", { size: bytes(one.bytes), time: duration(one.duration_s), when: when(one.expires) }));
    doing.prepend(element("a", { href: one.url, download: one.file }, t("timeline.download")));
    if (one.time_quality !== "synchronised") doing.append(element("span", { class: "quiet" }, t(`time.doubt.${one.time_quality}`)));
  } else {
    setText(state, one.error ?? named("timeline.export_state", one.state));
  }
  if (one.state === "running") {
    item.insertBefore(element("progress", { max: 1, value: one.progress, "aria-label": what }), doing);
  }
  if (byId("tl-export")) {
    const remove = element("button", { type: "button", class: "plain", "aria-label": t("timeline.export_remove_of", { what }) }, t("timeline.export_remove"));
    remove.addEventListener("click", () => send("DELETE", `/api/v1/exports/${one.id}`).catch(() => null).then(refreshExports));
    doing.append(remove);
  }
  return item;
}

/** Shows all exports; one that has not changed keeps its row, and with it what has the focus there. */
function showAll(exports) {
  const list = byId("tl-exports");
  const rows = new Map([...list.children].map((item) => [item.dataset.was, item]));
  list.replaceChildren(...exports.map((one) => {
    const is = JSON.stringify(one);
    const item = rows.get(is) ?? row(one);
    item.dataset.was = is;
    return item;
  }));
  byId("tl-no-exports").hidden = exports.length > 0;
  all = exports;
}

async function refreshExports() {
  clearTimeout(timer);
  const { exports } = await send("GET", "/api/v1/exports").catch(() => ({ exports: null }));
  if (exports) showAll(exports);
  if (stream?.readyState === EventSource.OPEN) return;
  const isBusy = exports?.some((one) => one.state === "waiting" || one.state === "running");
  timer = setTimeout(refreshExports, isBusy && !document.hidden ? SOON_MS : LATER_MS);
}

/** Shows all exports, and what becomes of them. A page that is not looked at follows nothing. */
export function followExports() {
  refreshExports();
  const follow = () => {
    stream?.close();
    stream = null;
    if (document.hidden) return;
    stream = new EventSource("/api/v1/stream?kinds=exports");
    stream.addEventListener("open", refreshExports);
    stream.addEventListener("export", ({ data }) => {
      const one = JSON.parse(data);
      const at = all.findIndex(({ id }) => id === one.id);
      showAll(at < 0 ? [one, ...all] : all.with(at, one));
    });
    stream.addEventListener("export_gone", ({ data }) => showAll(all.filter(({ id }) => id !== JSON.parse(data).id)));
    stream.addEventListener("error", () => {
      // A browser does not try again by itself where the answer was no stream.
      if (stream.readyState === EventSource.CLOSED) setTimeout(follow, LATER_MS);
      refreshExports();
    });
  };
  document.addEventListener("visibilitychange", follow);
  follow();
}

/** Sets the form up: `selection` has `camera`, `from` and `until`; `changed` hears what is typed. */
export function setUpExport(selection, changed) {
  const form = byId("tl-export");
  if (!form) return;
  const [begin, end, refused] = ["tl-begin", "tl-end", "tl-refused"].map(byId);
  for (const input of [begin, end]) {
    input.addEventListener("change", () => {
      const [from, until] = [Date.parse(begin.value), Date.parse(end.value)];
      if (from < until) changed(from, until);
    });
  }
  byId("tl-clear").addEventListener("click", () => changed(null, null));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button[type=submit]");
    button.disabled = true;
    refused.hidden = true;
    try {
      // The handles are finer than what is typed.
      const exact = typed(selection.from) === begin.value.padEnd(19, ":00") && typed(selection.until) === end.value.padEnd(19, ":00");
      const [from, until] = exact ? [selection.from, selection.until] : [Date.parse(begin.value), Date.parse(end.value)];
      const body = { camera: selection.camera, from: new Date(from).toISOString(), until: new Date(until).toISOString() };
      await send("POST", "/api/v1/exports", body, { "idempotency-key": key() });
    } catch (error) {
      setText(refused, error.message);
      refused.hidden = false;
    }
    button.disabled = false;
    refreshExports();
  });
}

/** Shows the selection in the form. */
export function showSelection({ from, until }) {
  if (!byId("tl-export")) return;
  byId("tl-clear").hidden = from === null;
  byId("tl-begin").value = from === null ? "" : typed(from);
  byId("tl-end").value = until === null ? "" : typed(until);
  setText(byId("tl-length"), from === null ? t("timeline.select_hint") : t("timeline.selected", { time: duration((until - from) / 1000) }));
}
