// What the user's photos take, and may take.

import { byId, setText } from "./dom.js";
import { bytes } from "./format.js";
import { t } from "./texts.js";

let usage = {};

/** Asks the box again; `trash` says what becomes of the trash too. */
export async function showUsage(trash) {
  const response = await fetch("/api/v1/photos/usage");
  if (!response.ok) return;
  usage = await response.json();
  const { quota, left, photos, trash_days: days } = usage;
  const sizes = { bytes: bytes(usage.bytes), quota: bytes(quota ?? 0), left: bytes(left ?? 0) };
  const taken = quota ? t("photos.usage_of", sizes) : photos ? t("photos.usage", sizes) : "";
  setText(byId("usage"), [taken, trash && days ? t("photos.trash_days", { count: days }) : ""].filter(Boolean).join(" "));
}

/** Why `file` is not to be sent; empty where it fits, as far as the page knows. */
export function overQuota(file) {
  if (usage.left === undefined || file.size <= usage.left) return "";
  return t("photos.over_quota", { name: file.name, size: bytes(file.size), left: bytes(usage.left) });
}
