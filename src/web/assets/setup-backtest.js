// Rules are tried against what the camera recorded, before they are saved.

import { byId, element, setText } from "./dom.js";
import { send } from "./form.js";
import { duration, localTime, objectName } from "./format.js";
import { t } from "./texts.js";

const ASK_MS = 1000;
const SHOWN = 20;

let camera = null;
let keysNow = () => ({});
let pipelineNow = () => null;
let round = 0;
let what = "rules";

const path = () => `/api/v1/cameras/${encodeURIComponent(camera)}/${what}/try`;
const number = new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: 1 });
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

/** What a pipeline would have done, in sentences. */
function ofPipeline({ pipeline, looked_at_s: looked, recorded_s: recorded }) {
  const { pictures, alerts, failures, failure, numbers, took } = pipeline;
  const spans = Object.entries(numbers).map(([output, { least, most, mean }]) => `${output}: ${[least, most].map(number.format).join("–")} (⌀ ${number.format(mean)})`);
  return [
    t("backtest.pipeline.sum", { pictures, ms: number.format(took.p50_ms), looked: duration(looked), recorded: duration(recorded) }),
    t("backtest.pipeline.alerts", { count: alerts }),
    failures > 0 ? t("backtest.pipeline.failures", { count: failures, reason: failure }) : "",
    ...spans,
  ].filter(Boolean).join(" · ");
}

function sentence(test) {
  if (test.state === "failed") return t("backtest.failed", { reason: test.reason ?? "" });
  if (test.pipeline) return ofPipeline(test);
  const values = { count: test.events, looked: duration(test.looked_at_s), recorded: duration(test.recorded_s), made: test.made };
  if (test.state === "running") return t("backtest.so_far", values);
  const judged = test.judged_false > 0 ? t("backtest.judged_false", { count: test.judged_false }) : "";
  return [t("backtest.events", values), judged, t("backtest.of", values)].filter(Boolean).join(" ");
}

function showTest(test) {
  const isRunning = test.state === "running";
  for (const id of ["backtest", "backtest-pipeline"]) byId(id).disabled = isRunning;
  byId("backtest-cancel").hidden = !isRunning;
  byId("backtest-progress").hidden = !isRunning;
  byId("backtest-progress").value = test.recorded_s > 0 ? test.looked_at_s / test.recorded_s : 0;
  setText(byId("backtest-outcome"), sentence(test));
  const alerts = (test.pipeline?.found ?? []).slice(0, SHOWN).map(({ start, message }) => element("li", {}, [localTime(start, new Date()), message].join(" · ")));
  const rows = test.found.slice(0, SHOWN).map((event) => element("li", {}, [localTime(event.start, new Date()), event.rule, objectName(event.label), event.zones.join(", "), event.judged_false ? t("backtest.false") : ""].filter(Boolean).join(" · ")));
  byId("backtest-found").replaceChildren(...alerts, ...rows);
}

async function follow(test) {
  const mine = round;
  while (mine === round) {
    showTest(test);
    if (test.state !== "running") return;
    await wait(ASK_MS);
    test = await send("GET", path()).catch(() => test);
  }
}

async function begin(of, keys) {
  try {
    [round, what] = [round + 1, of];
    await follow(await send("POST", path(), { hours: Number(byId("hours").value), ...keys }));
  } catch (error) {
    setText(byId("backtest-outcome"), error.message);
  }
}

byId("backtest").addEventListener("click", () => begin("rules", keysNow()));
byId("backtest-pipeline").addEventListener("click", () => begin("pipeline", { pipeline: pipelineNow() }));

byId("backtest-cancel").addEventListener("click", () => send("DELETE", path()).catch((error) => setText(byId("backtest-outcome"), error.message)));

/** Offers to try the pipeline that is chosen, where one is. */
export function offerPipeline() {
  byId("backtest-pipeline").hidden = pipelineNow() === null;
}

/** Offers to try what `keys` gives: rules, zones and lines as they are on the page; and what `pipeline` does. */
export function showBacktest(name, keys, pipeline) {
  round += 1;
  [camera, keysNow, pipelineNow] = [name, keys, pipeline];
  offerPipeline();
  byId("backtest").disabled = false;
  byId("backtest-cancel").hidden = true;
  byId("backtest-progress").hidden = true;
  byId("backtest-found").replaceChildren();
  setText(byId("backtest-outcome"), "");
}
