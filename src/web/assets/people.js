// Users, keys and sessions, for admins.

import { byId, element, showFilled } from "./dom.js";
import { button, onSubmit, send, show } from "./form.js";
import { browserOf, when } from "./format.js";
import { cameraChoice } from "./people-cameras.js";
import { named, t } from "./texts.js";

const cell = (text) => element("td", {}, text);
const ROLES = ["viewer", "operator", "admin"];

const dialog = byId("user-edit");
const editForm = byId("edit-form");
let ofEdited, ofNew, ofKey; // choices of cameras
let edited = null;

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
  const acts = [button(t("people.edit"), outcome, () => openEdit(user)), button(t(user.disabled ? "people.let_in" : "people.keep_out"), outcome, () => change({ disabled: !user.disabled }))];
  if (user.second_factor) acts.push(button(t("people.no_factor"), outcome, () => change({ second_factor: false }), t("people.no_factor_sure", { name: user.name })));
  acts.push(button(t("people.remove"), outcome, async () => {
    await send("DELETE", userPath(user.name));
    await showUsers();
  }, t("people.remove_sure", { name: user.name })));
  const cells = [cell(user.name), cell(role), cell(camerasText(user.cameras)), cell(user.second_factor ? t("people.app") : "–"), cell(t(user.disabled ? "people.kept_out" : "people.may_log_in")), element("td", { class: "acts" }, ...acts)];
  return element("tr", {}, ...cells);
}

const camerasText = (of) => (of === null || of === undefined ? t("people.all") : Object.entries(of).map(grantText).join(", ") || t("people.none"));

function openEdit(user) {
  edited = user;
  editForm.reset();
  byId("edit-title").textContent = user.name;
  ofEdited.fill(user.cameras);
  show(editForm.querySelector(".outcome"), "", false);
  dialog.showModal();
}

onSubmit(editForm, async (fields) => {
  const change = {};
  // What is as it was ends nothing.
  const cameras = ofEdited.read();
  if (JSON.stringify(cameras) !== JSON.stringify(edited.cameras)) change.cameras = cameras;
  if (fields.get("password")) change.password = fields.get("password");
  if (Object.keys(change).length) await send("PATCH", userPath(edited.name), change);
  await showUsers();
  dialog.close();
});
byId("edit-close").addEventListener("click", () => dialog.close());
byId("edit-unlock").addEventListener("click", async () => {
  const outcome = editForm.querySelector(".outcome");
  try {
    await send("POST", `${userPath(edited.name)}/unlock`);
    show(outcome, t("people.unlocked"), false);
  } catch (error) {
    show(outcome, error.message, true);
  }
});

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
    row.append(cell(key.name), cell(named("people.role", key.role)), cell(camerasText(key.cameras)), cell(t("people.made_by", { time: when(key.created), name: key.created_by })), cell(key.expires ? when(key.expires) : t("people.never")), cell(when(key.last_used)), end);
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

async function offerCameras() {
  const status = await send("GET", "/api/v1/status");
  const cameras = status.cameras.map(({ name }) => name);
  ofNew = cameraChoice(byId("user-cameras"), cameras);
  ofEdited = cameraChoice(byId("edit-cameras"), cameras);
  ofKey = cameraChoice(byId("key-cameras"), cameras);
}

onSubmit(byId("user-form"), async (fields) => {
  const body = { name: fields.get("name").trim(), password: fields.get("password"), role: fields.get("role") };
  body.cameras = ofNew.read();
  await send("POST", "/api/v1/users", body);
  byId("user-form").reset();
  ofNew.fill(null);
  await showUsers();
  return t("people.added", { name: body.name });
});

onSubmit(byId("key-form"), async (fields) => {
  const days = Number(fields.get("days"));
  const expires = days > 0 ? new Date(Date.now() + days * 86400e3).toISOString() : null;
  const made = await send("POST", "/api/v1/keys", { name: fields.get("name").trim(), role: fields.get("role"), cameras: ofKey.read(), expires });
  byId("new-key-text").textContent = made.key;
  byId("new-key").hidden = false;
  byId("key-form").reset();
  ofKey.fill(null);
  await showKeys();
});

async function begin() {
  await offerCameras();
  await Promise.all([showUsers(), showKeys()]);
}

begin().catch((error) => show(byId("users-outcome"), error.message, true)).finally(showFilled);
