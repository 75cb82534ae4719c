// What is not as it should be, each with the button that mends it, where there is one.

import { byId, element, setText } from "./dom.js";
import { button, send } from "./form.js";
import { locale, named, t } from "./texts.js";

const list = byId("concerns");
const rows = new Map();

/** What mends a concern about `subject`. */
const REMEDIES = {
  retry: (outlet) => send("POST", "/api/v1/queue/retry", { outlet }),
  resume: (outlet) => send("POST", "/api/v1/queue/resume", { outlet }),
  switch_on_detection: (camera) => switchOn(camera, { detect: true }),
  switch_on_recording: (camera) => switchOn(camera, { record: true }),
  reload: () => send("POST", "/api/v1/config/reload"),
};

const switchOn = (camera, change) => send("PATCH", `/api/v1/cameras/${encodeURIComponent(camera)}/switches`, change);

/** The concern in the page's language: the box's own sentence where there is none for its kind. */
function sentence({ code, subject = "", reason = "", count = 0, text }) {
  const own = t(`concern.${code}`, { subject, reason, count });
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
  return { root, text, outcome };
}

/** Shows `concerns`. `onMended` is called when a button did its work. */
export function showConcerns(concerns, onMended) {
  const seen = new Set();
  const shown = concerns.map((concern) => {
    const id = [concern.code, concern.subject, concern.remedy].join(" ");
    seen.add(id);
    if (!rows.has(id)) rows.set(id, makeRow(concern, onMended));
    const row = rows.get(id);
    row.root.dataset.level = concern.level;
    setText(row.text, sentence(concern));
    return row.root;
  });
  for (const id of rows.keys()) if (!seen.has(id)) rows.delete(id);
  const isSame = shown.length === list.children.length && shown.every((root, place) => list.children[place] === root);
  if (!isSame) list.replaceChildren(...shown);
  list.hidden = shown.length === 0;
}

/** One sentence on cameras and delivery. */
export function headline({ summary, cameras }) {
  const [all, count] = [cameras.length, summary.recording];
  const numbers = { all: all.toLocaleString(locale), count };
  const recording = all === 0 ? t("concern.no_camera") : t(all === count ? "summary.all" : "summary.recording", numbers);
  const waiting = summary.waiting === 0 ? t("summary.nothing_waits") : t("summary.waiting", { count: summary.waiting });
  return `${recording}${t("summary.joint")}${waiting}`;
}
