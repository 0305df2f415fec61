// Small help with the DOM. Text is only ever put in as text.

/** @param {string} id @returns {HTMLElement} */
export const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/**
 * An element with properties, and what stands in it: nodes, or strings that become text.
 * @param {string} tag
 * @param {Record<string, unknown>} [properties] `data` and `aria` take objects; the others are set as properties
 * @param {...(Node|string)} children
 * @returns {HTMLElement}
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  const { data = {}, aria = {}, ...rest } = properties;
  Object.assign(element, rest);
  Object.assign(element.dataset, data);
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, String(value));
  element.append(...children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** One of the icons that index.html defines: decoration, so the button around it has a name of its own. @param {string} name */
export function icon(name) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("class", "icon");
  drawing.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  drawing.append(use);
  return drawing;
}

/**
 * A button that shows an icon, and a word where there is one.
 * @param {string} name the icon's
 * @param {string} label what it does, for those who cannot see the icon
 * @param {() => void} onClick
 * @param {string} [word]
 */
export function iconButton(name, label, onClick, word = "") {
  const button = make("button", { type: "button", className: word ? "quiet" : "quiet bare", title: word ? "" : label }, icon(name), word);
  if (!word) button.setAttribute("aria-label", label);
  button.addEventListener("click", onClick);
  return button;
}

/** Puts nodes into a parent in this order, and takes away all others; those that stand right are not touched. */
export function arrange(parent, nodes) {
  const wanted = new Set(nodes);
  for (const node of [...parent.childNodes]) if (!wanted.has(node)) node.remove();
  nodes.forEach((node, i) => {
    if (parent.childNodes[i] !== node) parent.insertBefore(node, parent.childNodes[i] ?? null);
  });
}
