// What the keyboard does on a page; "?" shows it.

import { element } from "./dom.js";
import { t } from "./texts.js";

/** How long the second key of a sequence is waited for. */
const SEQUENCE_MS = 1500;
const known = new Map();
let first = "";
let firstAt = 0;
let dialog = null;

/**
 * Adds keys: `{ "j": ["events.key.next", act], "g o": [text, act] }`. A value of the text may be given as third. Those without
 * an act are shown only: what has the focus takes them.
 */
export function keys(added) {
  for (const [key, [text, act, values]] of Object.entries(added)) known.set(key, { text: t(text, values), act });
}

const isTyped = (target) => target.closest?.("input, textarea, select, [contenteditable]") !== null;
/** What has the focus takes the keys that press it. */
const isPressed = ({ key, target }) => (key === "Enter" || key === " ") && target.closest?.("a[href], button, summary, [role=button]") !== null;

document.addEventListener("keydown", (event) => {
  // A dialog has keys of its own.
  if (event.ctrlKey || event.metaKey || event.altKey || isTyped(event.target) || isPressed(event) || document.querySelector("dialog[open]")) return;
  const sequence = event.timeStamp - firstAt < SEQUENCE_MS ? `${first} ${event.key}` : event.key;
  const found = known.get(sequence) ?? known.get(event.key);
  first = "";
  if (found?.act) {
    event.preventDefault();
    found.act(event);
  } else if ([...known.keys()].some((key) => key.startsWith(`${event.key} `))) {
    first = event.key;
    firstAt = event.timeStamp;
  }
});

function keyNames(key) {
  return key.split(" ").flatMap((name, place) => (place ? [" ", element("kbd", {}, name)] : [element("kbd", {}, name)]));
}

export function showKeys() {
  dialog?.remove();
  const rows = [...known].map(([key, { text }]) => element("div", {}, element("dt", {}, ...keyNames(key)), element("dd", {}, text)));
  const close = element("button", { type: "button", class: "button icon", "aria-label": t("shell.close") }, "✕");
  const head = element("div", { class: "event-head" }, element("h2", { id: "keys-title" }, t("keys.title")), close);
  dialog = element("dialog", { class: "event keys", "aria-labelledby": "keys-title" }, head, element("dl", { class: "key-list" }, ...rows));
  close.addEventListener("click", () => dialog.close());
  document.body.append(dialog);
  dialog.showModal();
}
