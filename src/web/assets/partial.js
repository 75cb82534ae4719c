// Why a list of events is not complete.

import { setText } from "./dom.js";
import { send } from "./form.js";
import { t } from "./texts.js";

/** Says it in `node`, where the box is without its disk or fills its index. */
export async function sayMissing(node) {
  const { disk, store } = await send("GET", "/api/v1/status").catch(() => ({}));
  if (disk?.spooling) setText(node, t("events.spooling"));
  else if (store?.state === "rebuilding") setText(node, t("events.rebuilding"));
}
