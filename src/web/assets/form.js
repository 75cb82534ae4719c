// What the forms of the pages share: sending, showing what came of it.

import { element, setText } from "./dom.js";
import { t } from "./texts.js";

const ANSWER_WITHIN_MS = 30000;

/** Sends `body` and gives the answer, or throws an error with the box's own words and its code. */
export function send(method, path, body, headers = {}) {
  const options = { method, headers };
  if (method !== "GET") {
    options.headers = { "content-type": "application/json", ...headers };
    options.body = JSON.stringify(body ?? {});
  }
  return answered(path, options);
}

/** The same with a picture. */
export const sendPicture = (path, file) => answered(path, { method: "POST", headers: { "content-type": file.type }, body: file });

/** What stands at `path`, and the tag of its state. */
export async function getTagged(path) {
  let tag = null;
  const answer = await answered(path, { method: "GET" }, (response) => (tag = response.headers.get("etag")));
  return { answer, tag };
}

/** The names or tags in a line, between commas of either script. */
export const listOf = (line) => line.split(/[,、]/).map((name) => name.trim()).filter(Boolean);

/** To the login, and from there back to this page. */
export const toLogin = () => location.assign(`/login?${new URLSearchParams({ to: location.pathname + location.search })}`);

async function answered(path, options, onResponse = () => null) {
  options.signal = AbortSignal.timeout(ANSWER_WITHIN_MS);
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error(t("error.try_again"));
  }
  onResponse(response);
  const answer = response.status === 204 ? null : await response.json().catch(() => null);
  if (response.ok) return answer;
  if (response.status === 401 && answer?.code === "not_logged_in" && location.pathname !== "/login") toLogin();
  const error = new Error(sentence(answer?.detail ?? t("error.status", { status: response.status })));
  error.code = answer?.code;
  throw error;
}

function sentence(text) {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?:。？]$/.test(begun) ? begun : `${begun}.`;
}

/** Runs `act` when `form` is sent, once at a time, and shows what it throws in the form's `.outcome`. */
export function onSubmit(form, act) {
  const outcome = form.querySelector(".outcome");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button[type=submit]");
    if (button.disabled) return;
    button.disabled = true;
    show(outcome, "", false);
    try {
      show(outcome, (await act(new FormData(form))) ?? "", false);
    } catch (error) {
      show(outcome, error.message, true);
    } finally {
      button.disabled = false;
    }
  });
}

export function show(outcome, text, isBad) {
  setText(outcome, text);
  outcome.classList.toggle("bad", isBad);
  outcome.hidden = text === "";
}

/** A button that asks before it acts, where `question` (a text, or what gives it) is there; shows in `outcome` what went wrong.
 *  Where the page sets `needs` it can be pressed when that is true alone. */
export function button(text, outcome, act, question) {
  const made = element("button", { type: "button", class: question ? "plain danger" : "plain" }, text);
  made.addEventListener("click", async () => {
    if (question && !confirm(typeof question === "function" ? question() : question)) return;
    const isHeld = document.activeElement === made;
    made.disabled = true;
    show(outcome, "", false);
    try {
      await act();
    } catch (error) {
      show(outcome, error.message, true);
    } finally {
      made.disabled = made.needs?.() === false;
      // A button that is disabled loses the focus.
      if (isHeld && document.activeElement === document.body) made.focus();
    }
  });
  return made;
}
