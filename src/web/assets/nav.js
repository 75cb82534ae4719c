// The way from page to page, as far as the caller may go.

import { element, send } from "./form.js";

/** Fills `nav` for `me`, the answer of /api/v1/me. */
export function showNav(nav, me) {
  // What the caller may not do is not offered.
  document.body.dataset.acts = me.role !== "viewer" && me.cameras === null;
  const pages = [["/", "Overview"]];
  if (me.role === "admin") pages.push(["/people", "Users and keys"]);
  if (me.kind === "session") pages.push(["/account", me.name]);
  const links = pages.map(([path, text]) => {
    const link = element("a", text, { href: path });
    if (location.pathname === path) link.setAttribute("aria-current", "page");
    return link;
  });
  if (me.kind === "session") {
    const out = element("button", "Log out", { type: "button", class: "plain" });
    out.addEventListener("click", async () => {
      await send("POST", "/api/v1/logout").catch(() => null);
      location.assign("/login");
    });
    links.push(out);
  }
  nav.replaceChildren(...links);
}
