// Mouse, finger and pen on the strips: what they mean.

/** A pointer that moved less has clicked. */
const SLACK = 5;
const WHEEL_FACTOR = 1.0016;

/** Reports what pointers do over `area`, in pixels from its left and top. */
export function pointers(area, on) {
  const down = new Map();
  let moved = false;
  let selecting = null;
  const place = (event) => {
    const box = area.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  area.addEventListener("wheel", (event) => {
    event.preventDefault();
    // A line of text has some 16 pixels.
    const unit = event.deltaMode === 1 ? 16 : 1;
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) on.pan(event.deltaX * unit);
    else on.zoom(WHEEL_FACTOR ** (event.deltaY * unit), place(event)[0]);
  }, { passive: false });

  area.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const [x, y] = place(event);
    down.set(event.pointerId, { x, y });
    moved = down.size > 1;
    selecting = event.shiftKey ? x : null;
    area.setPointerCapture(event.pointerId);
  });

  area.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    const before = down.get(event.pointerId);
    if (!before) {
      if (event.pointerType === "mouse") on.peek(x, y);
      return;
    }
    if (!moved && Math.abs(x - before.x) < SLACK) return;
    moved = true;
    on.leave();
    if (selecting !== null) {
      on.select(selecting, x);
    } else if (down.size === 1) {
      area.classList.add("panning");
      on.pan(before.x - x);
    } else {
      const other = [...down].find(([id]) => id !== event.pointerId)[1];
      const [was, is] = [Math.abs(before.x - other.x), Math.abs(x - other.x)];
      if (was > SLACK && is > SLACK) on.zoom(was / is, (x + other.x) / 2);
    }
    down.set(event.pointerId, { x, y });
  });

  const up = (event) => {
    if (!down.delete(event.pointerId)) return;
    area.classList.remove("panning");
    if (event.type === "pointerup" && !moved && down.size === 0) {
      const [x, y] = place(event);
      if (event.pointerType !== "mouse") on.peek(x, y);
      on.click(x, y);
    }
    if (down.size === 0) selecting = null;
  };
  area.addEventListener("pointerup", up);
  area.addEventListener("pointercancel", up);
  area.addEventListener("pointerleave", on.leave);
}

/** A handle that is drawn by pointers and moved by arrow keys. */
export function handle(node, on, area) {
  node.addEventListener("pointerdown", (event) => {
    event.stopPropagation();
    node.setPointerCapture(event.pointerId);
    node.focus();
  });
  node.addEventListener("pointermove", (event) => {
    event.stopPropagation();
    if (node.hasPointerCapture(event.pointerId)) on.move(event.clientX - area.getBoundingClientRect().left);
  });
  node.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 }[event.key];
    if (!steps) return;
    event.preventDefault();
    event.stopPropagation();
    on.step(event.shiftKey ? steps * 10 : steps);
  });
}
