// Users, keys and sessions, for admins.

import { byId, element, showFilled } from "./dom.js";
import { button, onSubmit, send, show } from "./form.js";
import { browserOf, when } from "./format.js";
import { named, t } from "./texts.js";

const cell = (text) => element("td", {}, text);
const ROLES = ["viewer", "operator", "admin"];

const userPath = (name) => `/api/v1/users/${encodeURIComponent(name)}`;

function userRow(user) {
  const outcome = byId("users-outcome");
  const change = async (body) => {
    await send("PATCH", userPath(user.name), body);
    await showUsers();
  };
  const role = element("select", { "aria-label": t("people.role_of", { name: user.name }) });
  role.append(...ROLES.map((name) => element("option", { value: name, selected: name === user.role }, named("people.role", name))));
  role.addEventListener("change", () => change({ role: role.value }).catch(async (error) => {
    await showUsers();
    show(outcome, error.message, true);
  }));
  const cameras = user.cameras === null ? t("people.all") : Object.entries(user.cameras).map(grantText).join(", ") || t("people.none");
  const acts = [button(t(user.disabled ? "people.let_in" : "people.keep_out"), outcome, () => change({ disabled: !user.disabled }))];
  if (user.second_factor) acts.push(button(t("people.no_factor"), outcome, () => change({ second_factor: false }), t("people.no_factor_sure", { name: user.name })));
  acts.push(button(t("people.remove"), outcome, async () => {
    await send("DELETE", userPath(user.name));
    await showUsers();
  }, t("people.remove_sure", { name: user.name })));
  const cells = [cell(user.name), cell(role), cell(cameras), cell(user.second_factor ? t("people.app") : "–"), cell(t(user.disabled ? "people.kept_out" : "people.may_log_in")), element("td", { class: "acts" }, ...acts)];
  return element("tr", {}, ...cells);
}

function grantText([camera, grant]) {
  const [time, end] = [when(grant.since), when(grant.until)];
  if (grant.since && grant.until) return t("people.between", { camera, time, end });
  if (grant.since) return t("people.since", { camera, time });
  return grant.until ? t("people.until", { camera, time: end }) : camera;
}

async function showUsers() {
  const { users } = await send("GET", "/api/v1/users");
  byId("users").replaceChildren(...users.map(userRow));
  await showSessions();
}

async function showKeys() {
  const { keys } = await send("GET", "/api/v1/keys");
  const rows = keys.map((key) => {
    const row = element("tr");
    const end = element("td", { class: "acts" });
    end.append(button(t("people.remove"), byId("keys-outcome"), async () => {
      await send("DELETE", `/api/v1/keys/${key.id}`);
      await showKeys();
    }, t("people.remove_key_sure", { name: key.name })));
    row.append(cell(key.name), cell(named("people.role", key.role)), cell(t("people.made_by", { time: when(key.created), name: key.created_by })), cell(key.expires ? when(key.expires) : t("people.never")), cell(when(key.last_used)), end);
    return row;
  });
  byId("keys").replaceChildren(...rows);
}

async function showSessions() {
  const { sessions } = await send("GET", "/api/v1/sessions");
  const rows = sessions.map((session) => {
    const row = element("tr");
    const end = element("td", { class: "acts" });
    end.append(button(t("shell.logout"), byId("sessions-outcome"), async () => {
      await send("DELETE", `/api/v1/sessions/${session.id}`);
      await showSessions();
    }));
    row.append(cell(session.user), cell(browserOf(session.agent)), cell(session.address), cell(when(session.last_used)), end);
    return row;
  });
  byId("all-sessions").replaceChildren(...rows);
}

/** Which cameras a new user sees: all, or those that are chosen, from now on or with what was recorded before. */
async function offerCameras() {
  const { cameras } = await send("GET", "/api/v1/status");
  const choose = (value, text, name) => {
    return element("label", {}, element("input", { type: "checkbox", name, value }), ` ${text}`);
  };
  const all = choose("all", t("people.all"), "all");
  all.firstChild.defaultChecked = true;
  const each = cameras.map((camera) => choose(camera.name, camera.name, "camera"));
  const history = choose("now", t("people.from_now"), "since");
  const others = [...each, history];
  const follow = () => others.forEach((label) => (label.hidden = all.firstChild.checked));
  byId("user-cameras").addEventListener("change", follow);
  follow();
  byId("user-cameras").append(all, ...others);
}

onSubmit(byId("user-form"), async (fields) => {
  const body = { name: fields.get("name").trim(), password: fields.get("password"), role: fields.get("role") };
  if (!fields.has("all")) {
    const grant = fields.has("since") ? { since: new Date().toISOString() } : {};
    body.cameras = Object.fromEntries(fields.getAll("camera").map((camera) => [camera, grant]));
  }
  await send("POST", "/api/v1/users", body);
  byId("user-form").reset();
  byId("user-cameras").dispatchEvent(new Event("change"));
  await showUsers();
  return t("people.added", { name: body.name });
});

onSubmit(byId("key-form"), async (fields) => {
  const days = Number(fields.get("days"));
  const expires = days > 0 ? new Date(Date.now() + days * 86400e3).toISOString() : null;
  const made = await send("POST", "/api/v1/keys", { name: fields.get("name").trim(), role: fields.get("role"), expires });
  byId("new-key-text").textContent = made.key;
  byId("new-key").hidden = false;
  byId("key-form").reset();
  await showKeys();
});

async function begin() {
  await Promise.all([showUsers(), showKeys(), offerCameras()]);
}

begin().catch((error) => show(byId("users-outcome"), error.message, true)).finally(showFilled);
