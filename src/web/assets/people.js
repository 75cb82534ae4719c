// Users, keys and sessions, for admins.

import { button, element, onSubmit, send, show, when } from "./form.js";
import { browserOf } from "./format.js";
import { showNav } from "./nav.js";

const byId = (id) => document.getElementById(id);
const ROLES = ["viewer", "operator", "admin"];

const userPath = (name) => `/api/v1/users/${encodeURIComponent(name)}`;

function userRow(user) {
  const outcome = byId("users-outcome");
  const change = async (body) => {
    await send("PATCH", userPath(user.name), body);
    await showUsers();
  };
  const role = element("select", null, { "aria-label": `Role of ${user.name}` });
  role.append(...ROLES.map((name) => element("option", name, name === user.role ? { value: name, selected: "" } : { value: name })));
  role.addEventListener("change", () => change({ role: role.value }).catch(async (error) => {
    await showUsers();
    show(outcome, error.message, true);
  }));
  const cameras = user.cameras === null ? "all" : Object.entries(user.cameras).map(grantText).join(", ") || "none";
  const acts = [button(user.disabled ? "Let in again" : "Keep out", outcome, () => change({ disabled: !user.disabled }))];
  if (user.second_factor) acts.push(button("Remove second factor", outcome, () => change({ second_factor: false }), `Let ${user.name} log in without the authenticator app?`));
  acts.push(button("Remove", outcome, async () => {
    await send("DELETE", userPath(user.name));
    await showUsers();
  }, `Remove the user ${user.name}?`));
  const cells = [element("td", user.name), element("td"), element("td", cameras), element("td", user.second_factor ? "app" : "–"), element("td", user.disabled ? "kept out" : "may log in"), element("td")];
  cells[1].append(role);
  cells[5].append(...acts);
  cells[5].className = "acts";
  const row = element("tr");
  row.append(...cells);
  return row;
}

function grantText([camera, grant]) {
  const since = grant.since ? ` since ${when(grant.since)}` : "";
  return `${camera}${since}${grant.until ? ` until ${when(grant.until)}` : ""}`;
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
    const end = element("td", null, { class: "acts" });
    end.append(button("Remove", byId("keys-outcome"), async () => {
      await send("DELETE", `/api/v1/keys/${key.id}`);
      await showKeys();
    }, `Remove the key for ${key.name}? What uses it is refused from then on.`));
    row.append(element("td", key.name), element("td", key.role), element("td", `${when(key.created)}, ${key.created_by}`), element("td", key.expires ? when(key.expires) : "never"), element("td", when(key.last_used)), end);
    return row;
  });
  byId("keys").replaceChildren(...rows);
}

async function showSessions() {
  const { sessions } = await send("GET", "/api/v1/sessions");
  const rows = sessions.map((session) => {
    const row = element("tr");
    const end = element("td", null, { class: "acts" });
    end.append(button("Log out", byId("sessions-outcome"), async () => {
      await send("DELETE", `/api/v1/sessions/${session.id}`);
      await showSessions();
    }));
    row.append(element("td", session.user), element("td", browserOf(session.agent)), element("td", session.address), element("td", when(session.last_used)), end);
    return row;
  });
  byId("all-sessions").replaceChildren(...rows);
}

/** Which cameras a new user sees: all, or those that are chosen, from now on or with what was recorded before. */
async function offerCameras() {
  const { cameras } = await send("GET", "/api/v1/status");
  const choose = (value, text, name) => {
    const label = element("label");
    label.append(element("input", null, { type: "checkbox", name, value }), ` ${text}`);
    return label;
  };
  const all = choose("all", "all", "all");
  all.firstChild.defaultChecked = true;
  const each = cameras.map((camera) => choose(camera.name, camera.name, "camera"));
  const history = choose("now", "only what is recorded from now on", "since");
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
  return `${body.name} may log in now.`;
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
  const me = await send("GET", "/api/v1/me");
  showNav(byId("nav"), me);
  byId("unprotected").hidden = me.kind !== "unprotected";
  await Promise.all([showUsers(), showKeys(), offerCameras()]);
}

begin().catch((error) => show(byId("users-outcome"), error.message, true));
