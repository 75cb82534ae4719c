// Elements. Data only ever becomes text, never markup.

export const byId = (id) => document.getElementById(id);

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

/** A page that fills itself is shown when it has what it shows first, so that nothing moves under the reader's hand. */
export const showFilled = () => document.body.classList.remove("filling");

/** Calls `load` when the end of a list comes near. Gives what to call when the list has grown: an end that went out of sight and
 *  came back between two frames is no change that an observer reports. */
export function nearEnd(end, load) {
  const observer = new IntersectionObserver((entries) => entries.some(({ isIntersecting }) => isIntersecting) && load(), { rootMargin: "800px 0px" });
  observer.observe(end);
  return () => {
    observer.unobserve(end);
    observer.observe(end);
  };
}

/** Sets text only where it changed, so that selections and screen readers are left in peace. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
