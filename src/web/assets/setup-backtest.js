// Rules are tried against what the camera recorded, before they are saved.

import { byId, element, setText } from "./dom.js";
import { send } from "./form.js";
import { duration, localTime, objectName } from "./format.js";
import { t } from "./texts.js";

const ASK_MS = 1000;
const SHOWN = 20;

let camera = null;
let keysNow = () => ({});
let round = 0;

const path = () => `/api/v1/cameras/${encodeURIComponent(camera)}/rules/try`;
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

function sentence(test) {
  if (test.state === "failed") return t("backtest.failed", { reason: test.reason ?? "" });
  const values = { count: test.events, looked: duration(test.looked_at_s), recorded: duration(test.recorded_s), made: test.made };
  if (test.state === "running") return t("backtest.so_far", values);
  const judged = test.judged_false > 0 ? t("backtest.judged_false", { count: test.judged_false }) : "";
  return [t("backtest.events", values), judged, t("backtest.of", values)].filter(Boolean).join(" ");
}

function showTest(test) {
  const isRunning = test.state === "running";
  byId("backtest").disabled = isRunning;
  byId("backtest-cancel").hidden = !isRunning;
  byId("backtest-progress").hidden = !isRunning;
  byId("backtest-progress").value = test.recorded_s > 0 ? test.looked_at_s / test.recorded_s : 0;
  setText(byId("backtest-outcome"), sentence(test));
  const rows = test.found.slice(0, SHOWN).map((event) => element("li", {}, [localTime(event.start, new Date()), event.rule, objectName(event.label), event.zones.join(", "), event.judged_false ? t("backtest.false") : ""].filter(Boolean).join(" · ")));
  byId("backtest-found").replaceChildren(...rows);
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

byId("backtest").addEventListener("click", async () => {
  try {
    round += 1;
    await follow(await send("POST", path(), { hours: Number(byId("hours").value), ...keysNow() }));
  } catch (error) {
    setText(byId("backtest-outcome"), error.message);
  }
});

byId("backtest-cancel").addEventListener("click", () => send("DELETE", path()).catch((error) => setText(byId("backtest-outcome"), error.message)));

/** Offers to try what `keys` gives: rules, zones and lines as they are on the page. */
export function showBacktest(name, keys) {
  round += 1;
  [camera, keysNow] = [name, keys];
  byId("backtest").disabled = false;
  byId("backtest-cancel").hidden = true;
  byId("backtest-progress").hidden = true;
  byId("backtest-found").replaceChildren();
  setText(byId("backtest-outcome"), "");
}
