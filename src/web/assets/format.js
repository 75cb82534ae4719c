// How values look.

import { locale, named, t } from "./texts.js";

export function duration(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return "–";
  if (seconds < 10) return t("unit.s", { n: seconds.toFixed(seconds % 1 ? 1 : 0) });
  if (seconds < 120) return t("unit.s", { n: Math.round(seconds) });
  if (seconds < 7200) return t("unit.min", { n: Math.round(seconds / 60) });
  if (seconds < 172800) return t("unit.h", { n: Math.round(seconds / 3600) });
  return t("unit.days", { n: Math.round(seconds / 86400) });
}

export function ago(seconds) {
  return seconds < 5 ? t("unit.just_now") : t("unit.ago", { time: duration(Math.floor(seconds)) });
}

export function bytes(n) {
  if (!Number.isFinite(n)) return "–";
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) {
    n /= 1000;
    unit += 1;
  }
  return `${unit === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[unit]}`;
}

const timeOfDay = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const sameYear = new Intl.DateTimeFormat(locale, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const inFull = new Intl.DateTimeFormat(locale, {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
});

/** Local time, as short as it is clear on the day `now`; in full without it. */
export function localTime(iso, now) {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return "–";
  if (now && at.toDateString() === now.toDateString()) return timeOfDay.format(at);
  return now && at.getFullYear() === now.getFullYear() ? sameYear.format(at) : inFull.format(at);
}

/** How a time is typed into a field of the page, in local time. */
export function typed(time) {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return "";
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

export function percent(score) {
  return `${Math.round(score * 100)} %`;
}

/** What the page calls that which a model calls `label`: its own word where there is no other. */
export const objectName = (label) => named("object", label);

/** Why a time with this quality is in doubt; nothing where it is not. */
export const doubt = (quality) => (quality === "synchronised" ? "" : t(`time.doubt.${quality}`));

/** A browser's description of itself, in short. */
export function browserOf(agent) {
  const system = /Android|iPhone|iPad|Windows|Mac OS|Linux/.exec(agent)?.[0] ?? "";
  const name = /Firefox|Edg|OPR|Chrome|Safari/.exec(agent)?.[0]?.replace("Edg", "Edge").replace("OPR", "Opera");
  if (!name) return agent.slice(0, 60) || t("browser.unknown");
  return system ? t("browser.on", { browser: name, system }) : name;
}

/** A date and time in full, or a dash. */
export const when = (time) => (time ? new Date(time).toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" }) : "–");
