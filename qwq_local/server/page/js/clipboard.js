// Copying, also where the page came over plain HTTP from another machine and the browser offers no clipboard.

import { make } from "./dom.js";

const SHOWN_MS = 1500;

async function write(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = make("textarea", { value: text, className: "unseen" });
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  if (!done) throw new Error("The browser does not let the page copy.");
}

/** Copies a text, and says on the button that it is done, or why not. @param {string} text @param {HTMLElement} button */
export async function copyText(text, button) {
  const word = button.lastChild?.nodeType === Node.TEXT_NODE ? button.lastChild : null;
  const before = word?.textContent ?? "";
  let told = "Copied";
  try {
    await write(text);
  } catch (error) {
    told = error.message;
  }
  if (word) word.textContent = told;
  else button.title = told;
  button.classList.add("done");
  setTimeout(() => {
    if (word) word.textContent = before;
    button.classList.remove("done");
  }, SHOWN_MS);
}
