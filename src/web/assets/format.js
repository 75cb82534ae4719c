// How values look, and small helpers to build elements. Data only ever becomes text, never markup.

export function element(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (key === "class") node.className = value;
    else if (key in node && typeof value !== "string") node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Sets text only where it changed, so that selections and screen readers are left in peace. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function duration(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return "–";
  if (seconds < 10) return `${seconds.toFixed(seconds % 1 ? 1 : 0)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export function ago(seconds) {
  return seconds < 5 ? "just now" : `${duration(Math.floor(seconds))} ago`;
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

export function count(n, one, many) {
  return `${n.toLocaleString()} ${n === 1 ? one : many}`;
}

const timeOfDay = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const sameYear = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const inFull = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
});

/** Local time, as short as it is clear on the day `now`; in full without it. */
export function localTime(iso, now) {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return "–";
  if (now && at.toDateString() === now.toDateString()) return timeOfDay.format(at);
  return now && at.getFullYear() === now.getFullYear() ? sameYear.format(at) : inFull.format(at);
}

export function percent(score) {
  return `${Math.round(score * 100)} %`;
}

export function words(name) {
  return String(name).replaceAll("_", " ");
}

export const DOUBT = {
  synchronised: "",
  unsynchronised: "The box's clock was not synchronised; this time may be wrong.",
  implausible: "The box's clock had not been set; this time is wrong.",
};

/** A browser's description of itself, in short. */
export function browserOf(agent) {
  const system = /Android|iPhone|iPad|Windows|Mac OS|Linux/.exec(agent)?.[0] ?? "";
  const name = /Firefox|Edg|OPR|Chrome|Safari/.exec(agent)?.[0]?.replace("Edg", "Edge").replace("OPR", "Opera");
  return name ? `${name}${system ? `, ${system}` : ""}` : agent.slice(0, 60) || "unknown";
}
