// Which cameras someone sees, and when: all, or those that are chosen, within a time.

import { element } from "./dom.js";
import { t } from "./texts.js";

const label = (text, input) => element("label", { class: "field-inline" }, input, ` ${text}`);
const toLocal = (time) => {
  if (!time) return "";
  const at = new Date(time);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
};
const toTime = (text) => (text ? new Date(text).toISOString() : undefined);

/** Puts the choice into `fieldset`. Gives how to fill it, with the grants of the API, and how to read it. */
export function cameraChoice(fieldset, cameras) {
  const all = element("input", { type: "checkbox", name: "all" });
  const each = cameras.map((name) => element("input", { type: "checkbox", name: "camera", value: name }));
  const since = element("input", { type: "datetime-local", name: "since" });
  const until = element("input", { type: "datetime-local", name: "until" });
  const times = [element("label", { class: "field" }, t("people.seen_from"), " ", since), element("label", { class: "field" }, t("people.seen_until"), " ", until)];
  const others = [...each.map((box) => label(box.value, box)), ...times];
  let known = {};
  const follow = () => others.forEach((one) => (one.hidden = all.checked));
  const fill = (grants) => {
    known = grants ?? {};
    all.checked = grants === null;
    for (const box of each) box.checked = box.value in known;
    const same = (name) => {
      const values = new Set(Object.values(known).map((grant) => grant[name] ?? ""));
      return values.size === 1 ? [...values][0] : "";
    };
    since.value = since.defaultValue = toLocal(same("since"));
    until.value = until.defaultValue = toLocal(same("until"));
    follow();
  };
  /** A time that was left as it is stays what each camera has, to the second. */
  const grantOf = (name) => ({
    since: since.value === since.defaultValue ? known[name]?.since : toTime(since.value),
    until: until.value === until.defaultValue ? known[name]?.until : toTime(until.value),
  });
  const read = () => (all.checked ? null : Object.fromEntries(each.filter((box) => box.checked).map(({ value }) => [value, grantOf(value)])));
  fieldset.append(label(t("people.all"), all), ...others);
  fieldset.addEventListener("change", follow);
  fill(null);
  return { fill, read };
}
