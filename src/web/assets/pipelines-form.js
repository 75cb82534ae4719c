// The list view: all that the graph shows, as forms that keyboard and screen reader go through.

import { element, setText } from "./dom.js";
import { change, choose, mayChange, removeStep, rename, sourcesFor, state } from "./pipelines.js";
import { t } from "./texts.js";

let fields = 0;

function field(label, input, hint) {
  input.id ||= `pl-${(fields += 1)}`;
  input.disabled = !mayChange;
  const parts = [element("label", { for: input.id }, label), input];
  if (hint) {
    const text = element("span", { class: "quiet", id: `${input.id}-hint` }, hint);
    input.setAttribute("aria-describedby", text.id);
    parts.push(text);
  }
  return element("p", { class: "field" }, ...parts);
}

function options(select, values, chosen, none) {
  // What is connected and does not fit is shown all the same.
  const all = [...(none === undefined ? [] : [""]), ...values, ...(chosen && !values.includes(chosen) ? [chosen] : [])];
  const text = JSON.stringify([none, all]);
  if (select.dataset.options !== text) select.replaceChildren(...all.map((value) => element("option", { value }, value ? value.replace(/^\$(steps|inputs)\./, "") : none)));
  select.dataset.options = text;
  select.value = chosen ?? "";
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

const group = (legend, parts) => (parts.length ? element("fieldset", {}, element("legend", {}, legend), ...parts) : null);
/** The step that is shown. */
const chosen = () => state.pipeline.steps.find((step) => step.id === state.chosen);
const keyOf = (id, type) => JSON.stringify([id, type]);

/**
 * The form of the step that is chosen, or of the whole pipeline. Fields stay where they are while the same is shown: what is
 * typed in one, has the focus or is being pressed is not taken away.
 */
export class Form {
  constructor(root, title) {
    Object.assign(this, { root, title, shown: null, typed: null });
    root.addEventListener("input", ({ target }) => (this.typed = target));
    // Before the field's own listener, which draws.
    root.addEventListener("change", () => (this.typed = null), { capture: true });
  }

  /** Takes what was typed and not left yet, before something else is done. */
  commit() {
    this.typed?.dispatchEvent(new Event("change", { bubbles: true }));
  }

  /** Leaves what was shown and typed: another pipeline follows. */
  clear() {
    [this.shown, this.typed] = [null, null];
  }

  draw() {
    const step = chosen();
    setText(this.title, step ? t("pipelines.step", { id: step.id }) : t("pipelines.all"));
    const shown = step ? keyOf(step.id, step.type) : "";
    if (this.shown !== shown) {
      this.shown = shown;
      [fields, this.updates, this.typed] = [0, [], null];
      this.errors = element("div", {});
      this.root.replaceChildren(...(step ? this.step(step) : this.whole()), this.errors);
    }
    this.updates.forEach((update) => update());
    this.drawErrors();
  }

  /** Shows what is wrong, and leaves the fields alone. */
  drawErrors() {
    const own = state.errors.filter((error) => (error.step ?? null) === state.chosen);
    const text = JSON.stringify(own);
    if (this.errors.dataset.text !== text) {
      const lines = own.map(({ field: name, reason, cure }) => element("li", {}, [name, reason].filter(Boolean).join(": "), cure ? ` — ${cure}` : ""));
      this.errors.replaceChildren(...(own.length ? [element("ul", { class: "pl-errors", role: "alert" }, ...lines)] : []));
    }
    this.errors.dataset.text = text;
    for (const count of this.root.querySelectorAll("[data-mistakes]")) {
      const wrong = state.errors.filter((error) => error.step === count.dataset.mistakes).length;
      setText(count, wrong ? ` ${t("pipelines.mistakes", { count: wrong })}` : "");
    }
  }

  /** A field that shows what `value` gives and hands to `set` what people say. */
  field(label, input, hint, value, set) {
    const show = input.tagName === "SELECT" ? () => options(input, ...value()) : () => (input.value = value());
    this.updates.push(() => input === this.typed || show());
    input.addEventListener("change", () => set(input.value));
    return field(label, input, hint);
  }

  whole() {
    const text = (key) => this.field(t(`pipelines.${key}`), element("input", { type: "text" }), null, () => state.pipeline[key] ?? "", (value) => change((pipeline) => (pipeline[key] = value)));
    const [steps, none] = [element("ol", {}), element("p", { class: "quiet" }, t("pipelines.no_steps"))];
    this.updates.push(() => {
      const listed = JSON.stringify(state.pipeline.steps.map(({ id, type }) => [id, type]));
      if (steps.dataset.listed !== listed) steps.replaceChildren(...state.pipeline.steps.map((step) => this.opener(step)));
      steps.dataset.listed = listed;
      none.hidden = state.pipeline.steps.length > 0;
    });
    return [text("name"), text("about"), group(t("pipelines.steps"), [steps, none]), this.outputs()];
  }

  opener({ id, type }) {
    const open = element("button", { type: "button", class: "plain" }, `${id} (${type})`);
    open.addEventListener("click", () => choose(id, true));
    return element("li", {}, open, element("span", { class: "bad", "data-mistakes": id }));
  }

  outputs() {
    const name = element("input", { type: "text" });
    name.addEventListener("change", () => {
      const source = sourcesFor(null, null).at(-1);
      const output = name.value;
      name.value = "";
      if (output && source) change((pipeline) => (pipeline.outputs[output] = source));
    });
    const further = field(t("pipelines.new_output"), name);
    this.further = name;
    const rows = new Map();
    this.updates.push(() => {
      for (const [output, { root }] of rows) if (!(output in state.pipeline.outputs) && rows.delete(output)) root.remove();
      for (const output of Object.keys(state.pipeline.outputs)) {
        if (!rows.has(output)) rows.set(output, this.output(output));
        const { root, select } = rows.get(output);
        if (!root.isConnected) further.before(root);
        options(select, sourcesFor(null, null), state.pipeline.outputs[output], t("pipelines.no_output"));
      }
    });
    further.hidden = !mayChange;
    return group(t("pipelines.outputs"), [further]);
  }

  output(name) {
    const select = element("select", {});
    select.addEventListener("change", () => {
      if (select.value) return change(({ outputs }) => (outputs[name] = select.value));
      change(({ outputs }) => delete outputs[name]);
      // What had the focus is gone.
      this.further.focus();
    });
    return { root: field(name, select), select };
  }

  step({ type }) {
    const block = state.blocks.get(type);
    const inputs = (block?.inputs ?? []).map((port) => {
      const set = (value) => change(() => (value ? (chosen().inputs[port.name] = value) : delete chosen().inputs[port.name]));
      return this.field(`${port.name}${port.required ? " *" : ""}`, element("select", {}), port.about, () => [sourcesFor(port, chosen()), chosen().inputs[port.name], t("pipelines.nothing")], set);
    });
    const parameters = (block?.parameters ?? []).map((parameter) => this.parameter(parameter));
    const back = element("button", { type: "button", class: "plain" }, t("pipelines.back"));
    back.addEventListener("click", () => choose(null, true));
    const remove = element("button", { type: "button", class: "plain danger" }, t("pipelines.remove_step"));
    remove.addEventListener("click", () => removeStep(state.chosen));
    const parts = [element("p", { class: "quiet" }, block?.about ?? ""), ...this.name(type), group(t("pipelines.inputs"), inputs), group(t("pipelines.parameters"), parameters), element("p", { class: "pl-buttons" }, back, mayChange ? remove : null)];
    return parts.filter(Boolean);
  }

  /** The field of a step's name, and why one is refused. */
  name(type) {
    const why = element("p", { class: "outcome bad", role: "status", hidden: true });
    const input = element("input", { type: "text" });
    const set = (name) => {
      const before = state.chosen;
      if (name === before) return;
      // The fields are those of the same step.
      this.shown = keyOf(name, type);
      const refused = rename(chosen(), name);
      why.hidden = !refused;
      if (!refused) return;
      this.shown = keyOf(before, type);
      input.value = before;
      setText(why, t(refused, { name }));
    };
    return [this.field(t("pipelines.id"), input, null, () => state.chosen, set), why];
  }

  parameter({ name, kind, choices, default: preset, about }) {
    const value = () => chosen().parameters[name];
    const values = choices ?? (kind === "flag" ? ["true", "false"] : kind === "model" ? state.models : kind === "webhook" ? state.webhooks : null);
    const set = (text) => change(() => {
      const given = read(kind, text);
      if (given === undefined) delete chosen().parameters[name];
      else chosen().parameters[name] = given;
    });
    if (values) {
      const none = preset === undefined ? t("pipelines.unset") : t("pipelines.preset", { value: written(preset) });
      const shared = () => Object.keys(state.pipeline.parameters ?? {}).map((known) => `$parameters.${known}`);
      return this.field(name, element("select", {}), about, () => [[...values, ...shared()], value() === undefined ? "" : String(value()), none], set);
    }
    const input = element(kind === "template" || kind === "expression" ? "textarea" : "input", { placeholder: preset === undefined ? "" : written(preset) });
    if (kind === "colour") input.pattern = "#[0-9a-fA-F]{6}";
    return this.field(name, input, about, () => written(value()), set);
  }
}
