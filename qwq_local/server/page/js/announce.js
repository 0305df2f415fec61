// The few things that a screen reader says by itself; never every token.

import { byId } from "./dom.js";

/** @param {string} text */
export function announce(text) {
  byId("announcement").textContent = text;
}
