// The one place where HTML becomes part of the page: DOMPurify, with a short list of what may be in it.

import "../vendor/dompurify-3.4.18/dist/purify.min.js";

const purify = globalThis.DOMPurify;
const TAGS = (
  "a blockquote br code del div em h1 h2 h3 h4 h5 h6 hr input li ol p pre span strong table tbody td th thead tr ul"
).split(" ");
const ATTRIBUTES = ["align", "checked", "class", "data-language", "disabled", "href", "rel", "start", "target", "type"];
const RULES = {
  ALLOWED_TAGS: TAGS,
  ALLOWED_ATTR: ATTRIBUTES,
  ADD_URI_SAFE_ATTR: ATTRIBUTES.filter((name) => name !== "href"),
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  RETURN_DOM_FRAGMENT: true,
};
/** `class` may only say what the page itself writes. */
const CLASSES = /^(?:maths|display|table|hljs-[\w-]+|function_|class_|inherited__|language_|constant_|invoke__|escape_)$/;

purify.addHook("afterSanitizeAttributes", (node) => {
  if (node.hasAttribute?.("class")) node.className = [...node.classList].filter((name) => CLASSES.test(name)).join(" ");
  if (node.localName === "input") {
    node.setAttribute("type", "checkbox");
    node.setAttribute("disabled", "");
  }
  if (node.localName === "a") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer");
  }
});

/** @param {string} html @returns {DocumentFragment} */
export const sanitize = (html) => purify.sanitize(html, RULES);
