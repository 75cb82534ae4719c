// What is done with a camera's pictures, and the switches for it.

import { element, setText } from "./dom.js";
import { send, show } from "./form.js";
import { named, t } from "./texts.js";

/** Two switches: detection and recording. */
export function makeSwitches(camera) {
  const outcome = element("span", { class: "outcome", role: "status", hidden: true });
  const parts = {};
  for (const what of ["detect", "record"]) {
    const button = element("button", { type: "button", class: "plain switch", "aria-pressed": "false" });
    button.addEventListener("click", async () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.disabled = true;
      show(outcome, "", false);
      try {
        await send("PATCH", `/api/v1/cameras/${encodeURIComponent(camera)}/switches`, { [what]: on });
        button.setAttribute("aria-pressed", String(on));
      } catch (error) {
        show(outcome, error.message, true);
      } finally {
        button.disabled = false;
      }
    });
    parts[what] = button;
  }
  return { root: element("p", { class: "switches" }, parts.detect, parts.record, outcome), ...parts };
}

export function updateSwitches(switches, camera) {
  for (const what of ["detect", "record"]) {
    const [button, state] = [switches[what], camera[what]];
    setText(button, t(`camera.${what}`, { state: named(`camera.${what}`, state) }));
    button.setAttribute("aria-pressed", String(state !== "off" && state !== "switched_off"));
    // What the configuration leaves out cannot be switched on here.
    button.disabled = state === "off" || document.body.dataset.acts !== "true";
    button.dataset.state = state;
  }
}
