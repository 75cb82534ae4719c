// The list view: all that the graph shows, as forms that keyboard and screen reader go through.

import { element } from "./dom.js";
import { change, choose, removeStep, rename, sourcesFor, state } from "./pipelines.js";
import { t } from "./texts.js";

let fields = 0;

function field(label, input, hint) {
  input.id ||= `pl-${(fields += 1)}`;
  const parts = [element("label", { for: input.id }, label), input];
  if (hint) {
    const text = element("span", { class: "quiet", id: `${input.id}-hint` }, hint);
    input.setAttribute("aria-describedby", text.id);
    parts.push(text);
  }
  return element("p", { class: "field" }, ...parts);
}

function options(select, values, chosen, none) {
  const option = (value, text) => element("option", { value, selected: value === chosen }, text);
  select.replaceChildren(...(none === undefined ? [] : [option("", none)]), ...values.map((value) => option(value, value.replace(/^\$(steps|inputs)\./, ""))));
  // What is connected and does not fit is shown all the same.
  if (chosen && !values.includes(chosen)) select.append(option(chosen, chosen));
  select.value = chosen ?? "";
  return select;
}

/** What a text field says, as the parameter's kind has it. */
function read(kind, text) {
  if (text === "") return undefined;
  if (text.startsWith("$parameters.")) return text;
  if (kind === "number" || kind === "whole") return Number.isNaN(Number(text)) ? text : Number(text);
  if (kind === "flag") return text === "true";
  if (kind === "texts") return text.split(",").map((part) => part.trim()).filter(Boolean);
  if (kind !== "area") return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

const written = (value) => (value === undefined ? "" : Array.isArray(value) ? (value.every((item) => typeof item === "string") ? value.join(", ") : JSON.stringify(value)) : String(value));

export class Form {
  constructor(root, title) {
    Object.assign(this, { root, title });
  }

  draw() {
    const held = this.root.contains(document.activeElement) ? document.activeElement.id : undefined;
    fields = 0;
    const step = state.pipeline.steps.find(({ id }) => id === state.chosen);
    this.title.textContent = step ? t("pipelines.step", { id: step.id }) : t("pipelines.all");
    this.root.replaceChildren(...(step ? this.step(step) : this.whole()), ...this.errors(step));
    if (held) document.getElementById(held)?.focus();
  }

  errors(step) {
    const errors = state.errors.filter((error) => (error.step ?? null) === (step?.id ?? null));
    if (!errors.length) return [];
    const lines = errors.map(({ field: name, reason, cure }) => element("li", {}, [name, reason].filter(Boolean).join(": "), cure ? ` — ${cure}` : ""));
    return [element("ul", { class: "pl-errors", role: "alert" }, ...lines)];
  }

  whole() {
    const { pipeline } = state;
    const text = (key, value, set) => {
      const input = element("input", { type: "text", value });
      input.addEventListener("change", () => change(() => set(input.value)));
      return field(t(`pipelines.${key}`), input);
    };
    const steps = pipeline.steps.map((step) => {
      const open = element("button", { type: "button", class: "plain" }, `${step.id} (${step.type})`);
      open.addEventListener("click", () => choose(step.id, true));
      const wrong = state.errors.filter((error) => error.step === step.id).length;
      return element("li", {}, open, wrong ? element("span", { class: "bad" }, ` ${t("pipelines.mistakes", { count: wrong })}`) : null);
    });
    const rows = Object.entries(pipeline.outputs).map(([name, reference]) => {
      const select = options(element("select", {}), sourcesFor(null, null), reference, t("pipelines.no_output"));
      select.addEventListener("change", () => change(() => (select.value ? (pipeline.outputs[name] = select.value) : delete pipeline.outputs[name])));
      return field(name, select);
    });
    const name = element("input", { type: "text" });
    name.addEventListener("change", () => {
      const source = sourcesFor(null, null).at(-1);
      if (name.value && source) change(() => (pipeline.outputs[name.value] = source));
    });
    return [
      text("name", pipeline.name, (value) => (pipeline.name = value)),
      text("about", pipeline.about ?? "", (value) => (pipeline.about = value)),
      element("fieldset", {}, element("legend", {}, t("pipelines.steps")), steps.length ? element("ol", {}, ...steps) : element("p", { class: "quiet" }, t("pipelines.no_steps"))),
      element("fieldset", {}, element("legend", {}, t("pipelines.outputs")), ...rows, field(t("pipelines.new_output"), name)),
    ];
  }

  step(step) {
    const block = state.blocks.get(step.type);
    const id = element("input", { type: "text", value: step.id });
    id.addEventListener("change", () => {
      if (!rename(step, id.value)) id.value = step.id;
    });
    const inputs = (block?.inputs ?? []).map((port) => {
      const select = options(element("select", {}), sourcesFor(port, step), step.inputs[port.name], t("pipelines.nothing"));
      select.addEventListener("change", () => change(() => (select.value ? (step.inputs[port.name] = select.value) : delete step.inputs[port.name])));
      return field(`${port.name}${port.required ? " *" : ""}`, select, port.about);
    });
    const parameters = (block?.parameters ?? []).map((parameter) => this.parameter(step, parameter));
    const back = element("button", { type: "button", class: "plain" }, t("pipelines.back"));
    back.addEventListener("click", () => choose(null, true));
    const remove = element("button", { type: "button", class: "plain danger" }, t("pipelines.remove_step"));
    remove.addEventListener("click", () => removeStep(step.id));
    const set = (key, rows) => (rows.length ? element("fieldset", {}, element("legend", {}, t(`pipelines.${key}`)), ...rows) : null);
    const parts = [element("p", { class: "quiet" }, block?.about ?? ""), field(t("pipelines.id"), id), set("inputs", inputs), set("parameters", parameters), element("p", { class: "pl-buttons" }, back, remove)];
    return parts.filter(Boolean);
  }

  parameter(step, { name, kind, choices, default: preset, about }) {
    const value = step.parameters[name];
    const shared = Object.keys(state.pipeline.parameters ?? {}).map((known) => `$parameters.${known}`);
    const values = choices ?? (kind === "flag" ? ["true", "false"] : kind === "model" ? state.models : kind === "webhook" ? state.webhooks : null);
    const input = values
      ? options(element("select", {}), [...values, ...shared], value === undefined ? "" : String(value), preset === undefined ? t("pipelines.unset") : t("pipelines.preset", { value: written(preset) }))
      : element(kind === "template" || kind === "expression" ? "textarea" : "input", { value: written(value), placeholder: preset === undefined ? "" : written(preset) });
    if (kind === "colour") input.pattern = "#[0-9a-fA-F]{6}";
    input.addEventListener("change", () =>
      change(() => {
        const set = read(kind, input.value);
        if (set === undefined) delete step.parameters[name];
        else step.parameters[name] = set;
      }),
    );
    return field(name, input, about);
  }
}
