// What every page has: its language, the way out, keys to the other pages.

import { byId, element, showFilled } from "./dom.js";
import { send } from "./form.js";
import { keys, showKeys } from "./keys.js";
import { t } from "./texts.js";

/** What a slow line has brought by then is better than nothing. */
const FILLED_WITHIN_MS = 3000;
setTimeout(showFilled, FILLED_WITHIN_MS);

const YEAR_S = 365 * 24 * 3600;

byId("language")?.addEventListener("change", ({ target }) => {
  document.cookie = `outpost_language=${target.value}; Path=/; Max-Age=${YEAR_S}; SameSite=Strict`;
  location.reload();
});

byId("logout")?.addEventListener("click", async () => {
  await send("POST", "/api/v1/logout").catch(() => null);
  location.assign("/login");
});

// The letter of each page; pages that the caller may not open have no link.
const LETTERS = { "/": "o", "/events": "e", "/timeline": "t", "/photos": "p", "/cameras": "c", "/models": "m", "/pipelines": "i", "/system": "s", "/people": "u", "/audit": "l" };

const nav = byId("nav");
if (nav) {
  // On a phone the way to this page may be out of sight.
  const here = nav.querySelector("[aria-current]");
  if (here) nav.scrollLeft = here.offsetLeft - (nav.clientWidth - here.offsetWidth) / 2;
  for (const link of nav.querySelectorAll("a")) {
    const letter = LETTERS[link.getAttribute("href")];
    if (letter) keys({ [`g ${letter}`]: ["keys.go", () => location.assign(link.href), { page: link.textContent }] });
  }
  keys({ "?": ["keys.help", showKeys] });
  const help = element("button", { type: "button", class: "plain", "aria-keyshortcuts": "?" }, t("shell.keys"));
  help.addEventListener("click", showKeys);
  byId("language").closest(".choices").append(help);
}
