// What is not as it should be, each with the button that mends it, where there is one.

import { byId, element, setText } from "./dom.js";
import { button, send } from "./form.js";
import { because, locale, named, t } from "./texts.js";

const list = byId("concerns");
const rows = new Map();

/** Of one kind so many are shown at first: a box whose network is away has as many as cameras. */
const FEW = 3;
/** The kinds of which all are shown. */
const opened = new Set();
let latest = [];

/** What mends a concern about `subject`. */
const REMEDIES = {
  retry: (outlet) => send("POST", "/api/v1/queue/retry", { outlet }),
  resume: (outlet) => send("POST", "/api/v1/queue/resume", { outlet }),
  switch_on_detection: (camera) => switchOn(camera, { detect: true }),
  switch_on_recording: (camera) => switchOn(camera, { record: true }),
  reload: () => send("POST", "/api/v1/config/reload"),
};

/** Where what mends a concern asks for more. */
const PAGES = { add_camera: "/cameras#+new" };

const switchOn = (camera, change) => send("PATCH", `/api/v1/cameras/${encodeURIComponent(camera)}/switches`, change);

/** The concern in the page's language: the box's own sentence where there is none for its kind. */
function sentence({ code, subject = "", reason = "", cause, count = 0, text }) {
  const own = t(`concern.${code}`, { subject, reason: because(cause, reason), count });
  return own.startsWith("concern.") ? text : own.replace(/[:：]\s*$/, "");
}

function makeRow(concern, onMended) {
  const text = element("span", { class: "concern-text" });
  const outcome = element("span", { class: "outcome", role: "status", hidden: true });
  const root = element("li", { class: "concern" }, element("span", { class: "dot", "aria-hidden": "true" }), text, outcome);
  const mend = REMEDIES[concern.remedy];
  if (mend) {
    const act = button(named("concern.remedy", concern.remedy), outcome, async () => {
      await mend(concern.subject);
      onMended();
    });
    act.className = "button small mend";
    root.append(act);
  }
  const page = PAGES[concern.remedy];
  if (page && document.body.dataset.admin === "true") {
    root.append(element("a", { class: "button small mend", href: page }, named("concern.remedy", concern.remedy)));
  }
  return { root, text, outcome };
}

/** The end of a kind of which there are many: shows all of them, and few again. */
function makeMore(code, onToggle) {
  const act = element("button", { type: "button", class: "plain" });
  act.addEventListener("click", () => {
    if (!opened.delete(code)) opened.add(code);
    onToggle();
  });
  return { root: element("li", {}, act), act };
}

/** The row with this id, made by `make` where there is none. */
function rowOf(id, make) {
  if (!rows.has(id)) rows.set(id, make());
  return rows.get(id);
}

/** Shows `concerns`. `onMended` is called when a button did its work. */
export function showConcerns(concerns, onMended) {
  const seen = new Set();
  const place = (id, make) => {
    seen.add(id);
    return rowOf(id, make);
  };
  const kinds = new Map();
  for (const concern of concerns) {
    const kind = `${concern.level} ${concern.code}`;
    kinds.set(kind, [...(kinds.get(kind) ?? []), concern]);
  }
  const shown = [...kinds].flatMap(([kind, all]) => {
    const isLong = all.length > FEW + 1;
    const some = isLong && !opened.has(kind) ? all.slice(0, FEW) : all;
    const roots = some.map((concern) => {
      const row = place([concern.code, concern.subject, concern.remedy].join(" "), () => makeRow(concern, onMended));
      row.root.dataset.level = concern.level;
      setText(row.text, sentence(concern));
      return row.root;
    });
    if (!isLong) return roots;
    const { root, act } = place(`more ${kind}`, () => makeMore(kind, () => showConcerns(latest, onMended)));
    act.setAttribute("aria-expanded", String(opened.has(kind)));
    setText(act, opened.has(kind) ? t("concern.fewer") : t("concern.more", { count: all.length - FEW }));
    return [...roots, root];
  });
  latest = concerns;
  for (const id of rows.keys()) if (!seen.has(id)) rows.delete(id);
  const isSame = shown.length === list.children.length && shown.every((root, place) => list.children[place] === root);
  if (!isSame) list.replaceChildren(...shown);
  list.hidden = shown.length === 0;
}

/** Whether there is none; right after the start they are still being made. */
export const hasNoCamera = (concerns) => concerns.some(({ code }) => code === "no_camera");

/** One sentence on cameras and delivery. */
export function headline({ summary, cameras, concerns }) {
  const [all, count] = [cameras.length, summary.recording];
  const numbers = { all: all.toLocaleString(locale), count };
  const none = hasNoCamera(concerns) ? t("concern.no_camera") : t("summary.starting");
  const idle = cameras.filter(({ state }) => state === "idle").length;
  const isIdle = idle > 0 && cameras.every(({ state }) => state === "idle" || state === "finished");
  const recording = all === 0 ? none : isIdle ? t("summary.idle", { count: idle }) : t(all === count ? "summary.all" : "summary.recording", numbers);
  const waiting = summary.waiting === 0 ? t("summary.nothing_waits") : t("summary.waiting", { count: summary.waiting });
  return `${recording}${t("summary.joint")}${waiting}`;
}
