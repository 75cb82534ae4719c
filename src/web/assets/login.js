// The door: logs in, or adds the first user with the link of the log.

import { element } from "./dom.js";
import { onSubmit, send } from "./form.js";

const [login, setup, closed] = ["login", "setup", "closed"].map((id) => document.getElementById(id));
// Behind #, so that it is never sent by itself and stands in no log on the way.
const secret = new URLSearchParams(location.hash.slice(1)).get("setup");

/** The page that was asked for, if it is one of ours. */
function wanted() {
  const to = new URL(new URLSearchParams(location.search).get("to") ?? "/", location.href);
  return to.origin === location.origin && to.pathname !== "/login" ? to.pathname + to.search + to.hash : "/";
}

async function begin() {
  const access = await send("GET", "/api/v1/access");
  // A link from elsewhere comes without the cookie, which this page of our own has.
  if (access.known && !secret) {
    location.replace(wanted());
    return;
  }
  const shown = access.login ? login : secret ? setup : closed;
  shown.hidden = false;
  shown.querySelector("input")?.focus();
}

onSubmit(login, async (fields) => {
  const code = fields.get("code")?.trim();
  try {
    await send("POST", "/api/v1/login", { name: fields.get("name").trim(), password: fields.get("password"), code: code || null });
  } catch (error) {
    if (error.code === "code_needed" || error.code === "wrong_code") {
      const field = document.getElementById("code-field");
      const first = field.hidden;
      field.hidden = false;
      field.querySelector("input").focus();
      if (first) return "";
    }
    throw error;
  }
  location.replace(wanted());
});

onSubmit(setup, async (fields) => {
  await send("POST", "/api/v1/setup", { secret, name: fields.get("name").trim(), password: fields.get("password") });
  history.replaceState(null, "", "/login");
  location.replace("/");
});

begin().catch((error) => {
  closed.hidden = false;
  closed.replaceChildren(element("p", { class: "bad" }, error.message));
});
