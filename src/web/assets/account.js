// The own account: password, second factor, sessions.

import { byId, element, showFilled } from "./dom.js";
import { button, onSubmit, send, show } from "./form.js";
import { browserOf, when } from "./format.js";
import { t } from "./texts.js";

function showMe(me) {
  byId("me").textContent = `${me.name} · ${me.role}`;
  byId("account").hidden = me.kind !== "session";
  byId("no-account").hidden = me.kind === "session";
  byId("factor-state").textContent = me.second_factor
    ? t("account.factor_on", { n: me.recovery_codes })
    : t("account.factor_off");
  byId("factor-code").hidden = !me.second_factor;
  byId("factor-begin").textContent = t(me.second_factor ? "account.factor_another" : "account.factor_begin");
}

async function showSessions() {
  const { own, sessions } = await send("GET", "/api/v1/me/sessions");
  const rows = sessions.map((session) => {
    const row = element("tr");
    const browser = element("td", {}, browserOf(session.agent));
    if (session.id === own) browser.append(" ", element("strong", {}, t("account.this_one")));
    const end = element("td");
    if (session.id !== own) {
      end.append(button(t("shell.logout"), byId("sessions-outcome"), async () => {
        await send("DELETE", `/api/v1/me/sessions/${session.id}`);
        await showSessions();
      }));
    }
    row.append(browser, element("td", {}, session.address), element("td", {}, when(session.last_used)), end);
    return row;
  });
  byId("sessions").replaceChildren(...rows);
}

onSubmit(byId("password-form"), async (fields) => {
  await send("POST", "/api/v1/me/password", { present: fields.get("present"), new: fields.get("new") });
  byId("password-form").reset();
  await showSessions();
  return t("account.changed");
});

byId("factor-begin").addEventListener("click", () => {
  byId("proof-form").hidden = false;
  byId("factor-password").focus();
});

onSubmit(byId("proof-form"), async (fields) => {
  const proof = { password: fields.get("password"), code: fields.get("code").trim() || null };
  const enrolment = await send("POST", "/api/v1/me/second-factor", proof);
  byId("proof-form").reset();
  byId("proof-form").hidden = true;
  const picture = element("img", { alt: t("account.qr"), width: "240", height: "240" });
  picture.src = `data:image/svg+xml,${encodeURIComponent(enrolment.qr)}`;
  byId("qr").replaceChildren(picture);
  byId("secret").textContent = enrolment.secret.replace(/(.{4})/g, "$1 ").trim();
  byId("enrol").hidden = false;
  byId("code").focus();
});

onSubmit(byId("confirm-form"), async (fields) => {
  const { recovery_codes: codes } = await send("POST", "/api/v1/me/second-factor/confirm", { code: fields.get("code").trim() });
  byId("recovery-codes").replaceChildren(...codes.map((code) => element("li", {}, code)));
  byId("recovery").hidden = false;
  byId("enrol").hidden = true;
  showMe(await send("GET", "/api/v1/me"));
});

async function begin() {
  const me = await send("GET", "/api/v1/me");
  showMe(me);
  if (me.kind === "session") await showSessions();
}

begin().catch((error) => show(byId("factor-outcome"), error.message, true)).finally(showFilled);
