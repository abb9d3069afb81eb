/** Building elements without a framework: text is always inserted as text, never as markup. */

/**
 * An element. Attributes named on… are listeners; true makes an empty attribute, false and null
 * none.
 * @param {string} tag may end in .class names
 * @param {Record<string, any>} [attributes]
 * @param {...(Node | string | number | null | false | (Node | string | null)[])} children
 */
export function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length > 0) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== false).map(asNode));
  return element;
}

/** An SVG element. */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

/** Set an element's text; an equal text is left alone, so that screen readers do not repeat it. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}
