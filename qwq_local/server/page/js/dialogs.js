// Dialogs that ask for one thing. The browser keeps the focus within them and gives it back.

import { byId } from "./dom.js";

/** @param {HTMLDialogElement} dialog @returns {Promise<string>} how it was closed: its return value, "" where it was left */
function answerOf(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
}

/** Whether someone agrees. @param {string} question @param {string} word what the button says */
export async function confirm(question, word) {
  byId("confirm-question").textContent = question;
  byId("confirm-yes").textContent = word;
  return (await answerOf(/** @type {HTMLDialogElement} */ (byId("confirm")))) === "yes";
}

/** A key for this server; "" where none is given. @param {boolean} wasRefused whether one was tried */
export async function askForKey(wasRefused) {
  const field = /** @type {HTMLInputElement} */ (byId("key"));
  byId("key-error").textContent = wasRefused ? "The server does not know this key." : "";
  field.value = "";
  return (await answerOf(/** @type {HTMLDialogElement} */ (byId("key-dialog")))) === "yes" ? field.value.trim() : "";
}

/** Every button that opens or closes a dialog without further ado, and the forms that close theirs. */
export function wireDialogs() {
  for (const button of document.querySelectorAll("[data-opens]")) {
    button.addEventListener("click", () => /** @type {HTMLDialogElement} */ (byId(button.dataset.opens)).showModal());
  }
  for (const button of document.querySelectorAll("[data-closes]")) {
    button.addEventListener("click", () => /** @type {HTMLDialogElement} */ (byId(button.dataset.closes)).close());
  }
  for (const form of document.querySelectorAll("form[data-answers]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      /** @type {HTMLDialogElement} */ (form.closest("dialog")).close("yes");
    });
  }
  byId("example").textContent = `from openai import OpenAI

client = OpenAI(base_url="${location.origin}/v1", api_key="none")
for chunk in client.chat.completions.create(
    model="qwq-32b", stream=True,
    messages=[{"role": "user", "content": "What is 47 + 85?"}],
):
    delta = chunk.choices[0].delta
    print(getattr(delta, "reasoning_content", None) or delta.content or "", end="")`;
}
