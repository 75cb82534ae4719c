// The newest events on the overview.

import { byId, element, setText } from "./dom.js";
import { deliveryOf, placeOf, shareOf, stateOf, thumbnail, titleOf } from "./event-view.js";
import { ago, doubt, localTime, percent } from "./format.js";
import { t } from "./texts.js";

const SHOWN = 10;
const list = byId("events");
const cards = new Map(); // id -> { root, text, ... }

// Before events had a page, their address was this one.
if (/^#[0-9A-Z]{26}$/.test(location.hash)) location.replace(`/events/${location.hash.slice(1)}`);

function makeCard(id) {
  const frame = element("div", { class: "thumb" });
  const [title, score, where, at, since, state, delivery] = ["title", "score", "where", "", "", "state", "delivery"].map((name) => element("span", { class: name }));
  const when = element("span", { class: "when" }, at, " ", since);
  const lines = element("span", { class: "lines" }, element("span", { class: "line" }, title, score), where, when, element("span", { class: "line" }, state, delivery));
  const root = element("li", {}, element("a", { href: `/events/${id}`, class: "card" }, frame, lines));
  return { root, frame, title, score, where, when, at, since, state, delivery, text: "" };
}

function updateCard(card, record, now) {
  const event = record.event;
  const why = doubt(event.start.time_quality);
  const relative = ago((now - new Date(event.start.wall)) / 1000);
  setText(card.at, localTime(event.start.wall, now));
  setText(card.since, why ? t("time.uncertain", { time: relative }) : relative);
  card.when.title = why;
  const text = JSON.stringify(record);
  if (card.text === text) return;
  card.text = text;
  const shown = JSON.stringify([event.pictures, event.state]);
  if (card.frame.dataset.shown !== shown) card.frame.replaceChildren(thumbnail(event));
  card.frame.dataset.shown = shown;
  setText(card.title, titleOf(event));
  setText(card.score, percent(event.score));
  setText(card.where, placeOf(event));
  setText(card.state, stateOf(event));
  card.root.dataset.state = event.state;
  const delivery = deliveryOf(record);
  setText(card.delivery, delivery.text);
  card.delivery.dataset.state = delivery.state;
  card.delivery.title = record.delivery.map(shareOf).join(", ");
}

export const query = () => new URLSearchParams({ limit: String(SHOWN) });

export function showEvents(reply, now) {
  const listed = new Set(reply.events.map(({ event }) => event.id));
  for (const [id, card] of cards) {
    if (listed.has(id)) continue;
    card.root.remove();
    cards.delete(id);
  }
  reply.events.forEach((record, place) => {
    const id = record.event.id;
    if (!cards.has(id)) cards.set(id, makeCard(id));
    const { root } = cards.get(id);
    if (list.children[place] !== root) list.insertBefore(root, list.children[place] ?? null);
    updateCard(cards.get(id), record, now);
  });
  byId("no-events").hidden = cards.size > 0;
}
