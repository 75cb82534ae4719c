// A file that was shared, for someone without a login. The link's secret stands behind "#", so no address holds it.

import { byId } from "./dom.js";
import { onSubmit, send } from "./form.js";
import { when } from "./format.js";

const form = byId("open");
const link = location.hash.slice(1);

function display({ url, name, at }) {
  form.hidden = true;
  byId("shown").hidden = false;
  const isVideo = name.endsWith(".mp4");
  const player = byId(isVideo ? "video" : "picture");
  player.src = url;
  player.hidden = false;
  byId("at").textContent = when(at);
  byId("download").href = url;
  byId("download").download = name;
}

const open = (password) => send("POST", "/api/v1/shared/open", { link, password });

onSubmit(form, async (fields) => display(await open(fields.get("password"))));

open(null).then(display, (error) => {
  if (error.code === "password_needed") {
    form.hidden = false;
    byId("password").focus();
    return;
  }
  byId("gone").textContent = error.message;
  byId("gone").hidden = false;
});
