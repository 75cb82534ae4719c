// The gallery: as high as all photos of all days are, of which what is near the screen is drawn and loaded. Where the box
// cannot count them beforehand, it grows as its end comes near.

import { element } from "./dom.js";

const PAGE = 120;
const KEPT = 6000;
const HEAD_PX = 44;
const NARROW = matchMedia("(max-width: 820px)");
const DAY_MS = 86400000;
const AGAIN_MS = 5000;
const FIRST_ID = "0".repeat(26);

/** What the clock on the wall showed on the day of an entry: a photo, or an event with the time `at`. */
const dayOf = (entry) => (entry.at ?? entry.taken.local).slice(0, 10);
const idOf = (entry) => entry.id ?? entry.event.id;

/**
 * `tile` draws an entry, `heading` names a day. `load` gives a page behind a place, with `next` and, of an album with an order of
 * its own, `arranged`. `count` gives the days with their photos, or null. `drawn` is called with the first day in sight.
 */
export function makeGallery({ root, tile, heading, load, count, drawn }) {
  let groups = []; // { day, count, entries, cursor, isOld, top, height, section, list, tiles }
  let next = null; // where the page behind the last begins, while the number of photos is not known
  let isCounted = false;
  let round = 0;
  let loading = null;
  let failed = false;
  let queued = 0;
  let grid = { columns: 1, row: 1, gap: 6 };

  function measure() {
    const [least, gap] = NARROW.matches ? [100, 3] : [132, 6];
    const width = root.clientWidth;
    const columns = Math.max(1, Math.floor((width + gap) / (least + gap)));
    grid = { columns, gap, row: (width - gap * (columns - 1)) / columns + gap };
    root.style.setProperty("--columns", columns);
  }

  /** Gives every group its place. */
  function arrange() {
    measure();
    groups = groups.filter((group) => group.count > 0 || group.section?.remove());
    let top = 0;
    for (const group of groups) {
      group.top = top;
      group.height = (group.day ? HEAD_PX : 0) + Math.ceil(group.count / grid.columns) * grid.row;
      top += group.height + 12;
      if (group.section) group.section.style.top = `${group.top}px`;
    }
    root.style.height = `${top}px`;
  }

  /** The first group that ends below `y`. */
  function groupAt(y) {
    let [low, high] = [0, groups.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (groups[middle].top + groups[middle].height <= y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Indices of the entries of a group between two heights. */
  function range(group, top, bottom) {
    const start = group.top + (group.day ? HEAD_PX : 0);
    const first = Math.max(0, Math.floor((top - start) / grid.row)) * grid.columns;
    const last = Math.min(group.count, Math.max(0, Math.ceil((bottom - start) / grid.row)) * grid.columns);
    return [Math.min(first, last), last];
  }

  function put(group) {
    group.list = element("ul", { class: "photos" });
    group.section = element("section", {}, group.day ? element("h2", { class: "day" }, heading(group.day)) : null, group.list);
    group.section.style.top = `${group.top}px`;
    group.tiles = new Map();
    const behind = groups.slice(groups.indexOf(group) + 1).find(({ section }) => section);
    root.insertBefore(group.section, behind?.section ?? null);
  }

  function fill(group, [first, last]) {
    if (!group.section) put(group);
    const { tiles, list, entries } = group;
    for (const [index, node] of tiles) {
      const isKept = index >= first && index < last && node.dataset.id === String(entries[index] ? idOf(entries[index]) : "");
      if (isKept || node.contains(document.activeElement) && node.dataset.id) continue;
      node.remove();
      tiles.delete(index);
    }
    list.style.paddingTop = `${Math.floor(first / grid.columns) * grid.row}px`;
    let behind = null;
    for (let index = last - 1; index >= first; index -= 1) {
      let node = tiles.get(index);
      if (!node) {
        node = entries[index] ? tile(entries[index]) : element("li", { class: "waiting" });
        node.dataset.id = entries[index] ? idOf(entries[index]) : "";
        tiles.set(index, node);
        list.insertBefore(node, behind);
      }
      behind = node;
    }
  }

  function take(group) {
    group.section?.remove();
    group.section = null;
  }

  function render() {
    queued = 0;
    const { top } = root.getBoundingClientRect();
    const [from, until] = [-top - innerHeight, -top + 2 * innerHeight];
    const first = groupAt(from);
    let end = first;
    while (end < groups.length && groups[end].top < until) end += 1;
    for (const [at, group] of groups.entries()) {
      if (group.section && (at < first || at >= end) && !group.section.contains(document.activeElement)) take(group);
    }
    let missing = null;
    for (const group of groups.slice(first, end)) {
      const part = range(group, from, until);
      fill(group, part);
      if (group.isOld || part[1] > group.entries.length) missing ??= group;
    }
    drawn(groups[groupAt(-top)]?.day ?? "");
    if (missing) missing = beginningFor(missing, end);
    if (isCounted ? missing : next !== null && (groups.at(-1)?.top ?? 0) + (groups.at(-1)?.height ?? 0) < until) fetchFor(missing);
  }

  /** The group that a page is to begin with: so far before the first that is missing that the page has no more than is missing. */
  function beginningFor(missing, end) {
    let at = groups.indexOf(missing);
    let wanted = 0;
    for (let to = at; to < end && groups[to].entries.length === 0; to += 1) wanted += groups[to].count;
    if (wanted === 0) return missing;
    while (at > 0 && groups[at - 1].entries.length === 0 && wanted + groups[at - 1].count <= PAGE) {
      at -= 1;
      wanted += groups[at].count;
    }
    return groups[at];
  }

  function schedule() {
    queued ||= requestAnimationFrame(render);
  }

  /** Leaves out what is far away, so that a library that was scrolled through does not stay in memory. */
  function forget(near) {
    let kept = 0;
    for (const group of groups) kept += group.entries.length;
    if (kept <= KEPT) return;
    const at = groups.indexOf(near);
    const far = groups.map((group, index) => [Math.abs(index - at), group]).sort((a, b) => b[0] - a[0]);
    for (const [, group] of far) {
      if (kept <= KEPT / 2 || group.section) break;
      kept -= group.entries.length;
      [group.entries, group.cursor] = [[], null];
    }
  }

  function append(entry, arranged) {
    const day = arranged ? "" : dayOf(entry);
    if (groups.at(-1)?.day !== day) groups.push({ day, count: 0, entries: [] });
    groups.at(-1).entries.push(entry);
    groups.at(-1).count += 1;
  }

  /** Puts photos in the place of older ones: tiles stay where they show what is still so. */
  function replaceOld(group, entries) {
    const texts = entries.map((entry) => JSON.stringify(entry));
    const tiles = new Map();
    for (const [index, node] of group.section ? group.tiles : []) {
      const now = texts.indexOf(JSON.stringify(group.entries[index]));
      if (now < 0) node.remove();
      else tiles.set(now, node);
    }
    [group.entries, group.tiles, group.isOld] = [entries, tiles, false];
  }

  /** Puts a page into its days. Gives whether the days are as they were counted. */
  function place(page, first) {
    const days = new Map([[first.day, []]]);
    for (const entry of page.photos) days.set(dayOf(entry), [...(days.get(dayOf(entry)) ?? []), entry]);
    const last = [...days.keys()].at(-1);
    let isAsCounted = true;
    for (const [day, entries] of days) {
      const group = day === first.day ? first : groups.find((known) => known.day === day);
      if (!group) {
        isAsCounted = false;
        continue;
      }
      if (group.isOld) replaceOld(group, entries);
      else if (group === first) group.entries.push(...entries);
      else if (entries.length > group.entries.length) group.entries = entries;
      else continue;
      group.cursor = day === last ? (page.next ?? null) : null;
      // It was counted before some came or went.
      if (!group.cursor || group.entries.length > group.count) group.count = group.entries.length;
    }
    return isAsCounted;
  }

  /** Loads what comes first of a group that is not there yet; without one, the next page. */
  function fetchFor(group) {
    if (loading || failed) return loading;
    const mine = round;
    const after = group && `${Date.parse(`${group.day}T00:00:00Z`) + DAY_MS}_${FIRST_ID}`;
    loading = (async () => {
      const page = await load(group ? (group.cursor ?? after) : next, PAGE);
      if (mine !== round) return;
      let isAsCounted = true;
      if (group) isAsCounted = place(page, group);
      else {
        next = page.next ?? null;
        for (const entry of page.photos) append(entry, page.arranged);
      }
      arrange();
      if (group) forget(group);
      loading = null;
      if (isAsCounted) schedule();
      else restart(true);
    })().catch(() => {
      // Why is said by who loads.
      if (mine !== round) return;
      [loading, failed] = [null, true];
      setTimeout(() => {
        if (mine !== round) return;
        failed = false;
        schedule();
      }, AGAIN_MS);
    });
    return loading;
  }

  /** Begins again with what is asked for now; `stays`: at the day that is in sight. */
  async function restart(stays = false) {
    round += 1;
    const mine = round;
    [loading, failed, isCounted] = [null, false, false];
    const day = stays ? groups[groupAt(-root.getBoundingClientRect().top)]?.day : undefined;
    let days = null;
    try {
      days = await count();
    } catch {
      failed = true;
    }
    if (mine !== round) return;
    root.replaceChildren();
    groups = (days ?? []).map((of) => ({ day: of.day, count: of.photos, entries: [] }));
    isCounted = days !== null;
    next = isCounted ? null : "";
    arrange();
    if (day && scrollY > 0 && !groups.some((group) => group.day === day)) show(day);
    if (!isCounted && !failed) await fetchFor(null);
    render();
  }

  /** Takes over what came and went, and loads those days again, and days with one of the photos `changed`; null: all. */
  async function refresh(changed) {
    const mine = round;
    const days = isCounted && (await count());
    if (!days || mine !== round) return;
    round += 1;
    [loading, failed] = [null, false];
    const known = new Map(groups.map((group) => [group.day, group]));
    groups = days.map(({ day, photos }) => {
      const group = known.get(day) ?? { day, entries: [] };
      known.delete(day);
      if (group.entries.length > 0 && (group.count !== photos || group.entries.some(({ id }) => !changed || changed.has(id)))) {
        [group.isOld, group.cursor] = [true, null];
      }
      group.count = photos;
      return group;
    });
    known.forEach(take);
    arrange();
    render();
  }

  const find = (id) => {
    for (const group of groups) {
      const index = group.entries.findIndex((entry) => entry.id === id);
      if (index >= 0) return [group, index];
    }
    return [null, -1];
  };

  /** Scrolls to a day, or to what is the next older. Gives whether it could. */
  function show(day) {
    const group = groups.find((known) => known.day <= day);
    if (!isCounted || !group) return false;
    scrollTo({ top: scrollY + root.getBoundingClientRect().top + group.top - 8 });
    schedule();
    return true;
  }

  /** The photo `by` places behind one that is loaded; loaded if it is not yet. */
  async function neighbour(id, by) {
    let [group, index] = find(id);
    for (let looks = 0; group && looks < 1000; looks += 1) {
      index += by;
      while (group && (index < 0 || index >= group.count)) {
        const isAtEnd = !isCounted && by > 0 && group === groups.at(-1);
        if (isAtEnd && next !== null && !failed) await (loading ?? fetchFor(null));
        if (isAtEnd && index < group.count) break;
        group = groups[groups.indexOf(group) + by];
        index = by > 0 ? 0 : (group?.count ?? 0) - 1;
      }
      while (group && index >= group.entries.length && index < group.count && !failed) await (loading ?? fetchFor(group));
      const entry = group?.entries[index];
      if (!entry || entry.id) return entry ?? null;
    }
    return null;
  }

  addEventListener("scroll", schedule, { passive: true });
  let width = 0;
  new ResizeObserver(() => {
    if (root.clientWidth === width) return;
    width = root.clientWidth;
    arrange();
    schedule();
  }).observe(root);

  return {
    restart,
    refresh,
    show,
    neighbour,
    /** Whether the number of photos is known. */
    isCounted: () => isCounted,
    size: () => groups.reduce((sum, group) => sum + group.count, 0),
    isWhole: () => isCounted || next === null,
    get: (id) => {
      const [group, index] = find(id);
      return group?.entries[index];
    },
    /** Whether there is one before or behind it. */
    has: (id, by) => {
      const [group, index] = find(id);
      if (!group) return false;
      const at = groups.indexOf(group);
      return by < 0 ? index > 0 || at > 0 : index + 1 < group.count || at + 1 < groups.length || !isCounted && next !== null;
    },
    /** Draws a photo again that was changed. */
    replace: (photo) => {
      const [group, index] = find(photo.id);
      if (!group) return;
      group.entries[index] = photo;
      group.tiles?.get(index)?.remove();
      group.tiles?.delete(index);
      schedule();
    },
    remove: (id) => {
      const [group, index] = find(id);
      if (!group) return;
      group.entries.splice(index, 1);
      group.count -= 1;
      take(group);
      arrange();
      schedule();
    },
  };
}
