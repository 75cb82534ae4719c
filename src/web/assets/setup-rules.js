// The rules of a camera in forms. A rule keeps the keys that no form shows.

import { byId, element, setText } from "./dom.js";
import { objectName } from "./format.js";
import { shapeNames } from "./setup-draw.js";
import { t } from "./texts.js";

const WHEN = ["object", "activity", "enter", "dwell", "leave", "cross", "count"];
const DIRECTIONS = ["both", "forward", "backward"];

let rules = [];
let labels = [];
let changed = () => {};

/** Rules as the file has them, with one way of writing each key. */
function plain(rule) {
  const { zone, line, label, ...rest } = rule;
  const list = (value) => (typeof value === "string" ? [value] : value);
  for (const [key, value] of [["zones", rest.zones ?? zone], ["lines", rest.lines ?? line], ["labels", rest.labels ?? label]]) {
    if (value !== undefined) rest[key] = list(value);
  }
  return rest;
}

/** Sets a key, or removes it where it says nothing. */
function set(rule, key, value) {
  if (value === "" || value === null || (Array.isArray(value) && value.length === 0)) delete rule[key];
  else rule[key] = value;
  changed();
}

let fields = 0;

function field(label, input, hint) {
  fields += 1;
  input.id = `rule-field-${fields}`;
  const parts = [element("label", { for: input.id }, label), input];
  if (hint) parts.push(element("span", { class: "quiet" }, hint));
  return element("p", { class: "field" }, ...parts);
}

function text(rule, key, label, hint) {
  const input = element("input", { autocomplete: "off", value: rule[key] ?? "" });
  // As it is typed: another field may show all fields again.
  input.addEventListener("input", () => {
    set(rule, key, input.value.trim());
    if (key === "name") setText(input.closest("fieldset").querySelector("legend"), rule.name ?? t("rules.unnamed"));
  });
  return field(label, input, hint);
}

function number(rule, key, label, props, hint) {
  const input = element("input", { type: "number", value: String(rule[key] ?? ""), ...props });
  input.addEventListener("input", () => set(rule, key, input.value === "" ? "" : Number(input.value)));
  return field(label, input, hint);
}

function choice(rule, key, label, options, usual, after) {
  const made = options.map((name) => element("option", { value: name, selected: (rule[key] ?? usual) === name }, t(`rules.${key}.${name}`)));
  const input = element("select", {}, ...made);
  input.addEventListener("change", () => {
    set(rule, key, input.value === usual ? "" : input.value);
    after?.();
  });
  return field(label, input);
}

/** Names that are chosen by pressing them. */
function chips(rule, key, label, names, hint, shown = String) {
  const chosen = new Set(rule[key] ?? []);
  const all = [...new Set([...names, ...chosen])];
  const buttons = all.map((name) => {
    const made = element("button", { type: "button", "aria-pressed": String(chosen.has(name)) }, shown(name));
    made.addEventListener("click", () => {
      if (!chosen.delete(name)) chosen.add(name);
      made.setAttribute("aria-pressed", String(chosen.has(name)));
      set(rule, key, [...chosen]);
    });
    return made;
  });
  return element("fieldset", { class: "field" }, element("legend", {}, label), element("div", { class: "chips" }, ...buttons), element("span", { class: "quiet" }, hint));
}

/** Labels: the chosen ones, and a list of those that the model knows. */
function labelField(rule) {
  const chosen = rule.labels ?? [];
  const more = element("select", { "aria-label": t("rules.label_add") }, element("option", { value: "" }, t("rules.label_add")), ...labels.filter((name) => !chosen.includes(name)).map((name) => element("option", { value: name }, objectName(name))));
  more.addEventListener("change", () => {
    set(rule, "labels", [...chosen, more.value]);
    render();
  });
  const made = chips(rule, "labels", t("rules.labels"), chosen, t("rules.labels_hint"), objectName);
  made.querySelector(".chips").append(more);
  return made;
}

function form(rule, at) {
  const when = rule.when ?? "object";
  const remove = element("button", { type: "button", class: "plain danger" }, t("rules.remove"));
  remove.addEventListener("click", () => {
    rules.splice(at, 1);
    render();
    changed();
    byId("rule-add").focus();
  });
  const name = text(rule, "name", t("setup.name"));
  const parts = [name, choice(rule, "when", t("rules.when"), WHEN, "object", () => {
    for (const [key, kinds] of [["dwell", ["dwell"]], ["count", ["count"]], ["direction", ["cross"]], ["lines", ["cross"]]]) {
      if (!kinds.includes(rule.when)) delete rule[key];
    }
    if (rule.when === "cross") delete rule.zones;
    render();
  })];
  if (when === "dwell") parts.push(text(rule, "dwell", t("rules.dwell"), t("rules.duration_hint")));
  if (when === "count") parts.push(number(rule, "count", t("rules.count"), { min: "1" }));
  if (when === "cross") parts.push(choice(rule, "direction", t("rules.direction"), DIRECTIONS, "both"));
  parts.push(number(rule, "min_score", t("rules.min_score"), { min: "0", max: "1", step: "0.05", placeholder: "0.5" }), text(rule, "cooldown", t("rules.cooldown"), t("rules.duration_hint")));
  const grid = element("div", { class: "setup-fields" }, ...parts);
  const where = when === "cross" ? chips(rule, "lines", t("rules.lines"), shapeNames("line"), t("rules.lines_hint")) : chips(rule, "zones", t("rules.zones"), shapeNames("zone"), t("rules.zones_hint"));
  return element("fieldset", { class: "rule" }, element("legend", {}, rule.name || t("rules.unnamed")), grid, where, labelField(rule), element("p", {}, remove));
}

function render() {
  byId("rules").replaceChildren(...rules.map(form));
}

byId("rule-add").addEventListener("click", () => {
  const taken = new Set(rules.map((rule) => rule.name));
  let n = 1;
  while (taken.has(`rule${n}`)) n += 1;
  rules.push({ name: `rule${n}` });
  render();
  changed();
  byId("rules").lastElementChild.querySelector("input").focus();
});

export function showRules(settings, known, onChange) {
  [rules, labels, changed] = [(settings.rules ?? []).map((rule) => plain(structuredClone(rule))), known, onChange];
  render();
}

/** Zones and lines came, went or have other names. */
export function refreshRules(kind, before, after) {
  const key = kind === "zone" ? "zones" : "lines";
  if (before) for (const rule of rules) if (rule[key]) rule[key] = rule[key].map((name) => (name === before ? after : name));
  render();
}

/** The rules as they are on the page. */
export const rulesNow = () => rules;

/** What differs from `settings`, as a merge patch of them. */
export function rulesPatch(settings) {
  const before = (settings.rules ?? []).map(plain);
  return JSON.stringify(before) === JSON.stringify(rules) ? {} : { rules: rules.length ? rules : null };
}
