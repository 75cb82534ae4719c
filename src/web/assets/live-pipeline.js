// What the pipeline of a camera gives, below its live view: values, and how long its steps take.

import { element, setText } from "./dom.js";
import { send } from "./form.js";
import { t } from "./texts.js";

const ASK_MS = 2000;
const number = new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: 2 });
const text = (value) => (typeof value === "number" ? number.format(value) : typeof value === "string" ? value : JSON.stringify(value));

/** A part of the page that shows a pipeline from the first value on; `start` with the camera, `take` with values, `stop`. */
export function makePipelineView() {
  const values = element("p", { class: "live-values" });
  const failure = element("p", { class: "outcome bad", role: "status", hidden: true });
  const summary = element("summary");
  const steps = element("tbody");
  const head = element("tr", {}, ...["step", "p50", "p95"].map((key) => element("th", { scope: "col" }, t(`pipeline.live.${key}`))));
  const details = element("details", {}, summary, element("table", {}, element("thead", {}, head), steps));
  const root = element("div", { class: "live-pipeline", hidden: true }, values, failure, details);
  let timer = null;
  let camera = "";

  async function ask() {
    const asked = camera;
    clearTimeout(timer);
    timer = -1;
    const pipeline = await send("GET", `/api/v1/cameras/${encodeURIComponent(asked)}/pipeline`).catch(() => null);
    if (asked !== camera) return;
    root.hidden = !pipeline;
    // The first value that comes over the live view asks again.
    if (!pipeline) return void (timer = null);
    timer = setTimeout(ask, ASK_MS);
    take(pipeline.values);
    failure.hidden = !pipeline.failure;
    setText(failure, pipeline.failure ?? "");
    const name = pipeline.version === undefined ? pipeline.name : t("pipeline.live.version", { name: pipeline.name, version: pipeline.version });
    setText(summary, t("pipeline.live.latency", { name, ms: number.format(pipeline.latency.p50_ms), fps: number.format(pipeline.fps) }));
    const rows = pipeline.steps.map((step) => element("tr", {}, ...[step.step, number.format(step.p50_ms), number.format(step.p95_ms)].map((cell) => element("td", {}, cell))));
    steps.replaceChildren(...rows);
  }

  function take(given) {
    if (timer === null && camera) ask();
    root.hidden = false;
    setText(values, Object.entries(given).map(([output, value]) => `${output}: ${text(value)}`).join(" · "));
  }

  return {
    root,
    take,
    start(name) {
      camera = name;
      ask();
    },
    stop() {
      clearTimeout(timer);
      [timer, camera] = [null, ""];
      root.hidden = true;
      steps.replaceChildren();
      setText(values, "");
    },
  };
}
