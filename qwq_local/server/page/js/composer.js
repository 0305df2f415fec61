// Where questions are written. What is not sent yet is kept in the browser, for each chat.

import { byId } from "./dom.js";

const KEEP_AFTER_MS = 400;
/** Longer drafts are not measured to let the field grow: it has its greatest height at once. */
const MEASURED_CHARACTERS = 5000;
const place = (chatId) => `qwq.draft.${chatId || "new"}`;

/** The form below the chat; `send` resolves to whether the question was taken. */
export class Composer {
  /** @param {{send: (text: string) => Promise<boolean>, stop: () => void, answerNow: () => void, warn: (text: string) => void}} actions */
  constructor(actions) {
    this.actions = actions;
    this.chatId = "";
    this.field = /** @type {HTMLTextAreaElement} */ (byId("question"));
    this.field.addEventListener("input", () => this.#changed());
    this.field.addEventListener("keydown", (event) => this.#key(event));
    byId("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    byId("stop").addEventListener("click", actions.stop);
    byId("answer-now").addEventListener("click", actions.answerNow);
    window.addEventListener("pagehide", () => this.#keep());
    this.#fit();
  }

  /** Shows the draft of another chat. @param {string} chatId "" for a new one */
  moveTo(chatId) {
    if (chatId === this.chatId && this.field.value) return;
    this.#keep();
    this.chatId = chatId;
    this.field.value = localStorage.getItem(place(chatId)) ?? "";
    this.#fit();
  }

  focus() {
    this.field.focus();
  }

  /** @param {{isWriting: boolean, isThinking: boolean}} how */
  show({ isWriting, isThinking }) {
    const hadFocus = document.activeElement === byId("stop") || document.activeElement === byId("answer-now");
    byId("send").hidden = isWriting;
    byId("stop").hidden = !isWriting;
    byId("answer-now").hidden = !isThinking;
    if (hadFocus && !isWriting) this.focus();
  }

  #key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    if (!byId("send").hidden) byId("ask").requestSubmit();
  }

  async #send() {
    const text = this.field.value;
    if (!text.trim() || this.isSending) return;
    this.isSending = true;
    const from = this.chatId;
    try {
      if (!(await this.actions.send(text))) {
        this.#keep();
        return;
      }
    } finally {
      this.isSending = false;
    }
    localStorage.removeItem(place(from));
    if (this.field.value === text) {
      this.field.value = "";
      this.#changed();
    }
  }

  #changed() {
    this.#fit();
    clearTimeout(this.keeping);
    this.keeping = setTimeout(() => this.#keep(), KEEP_AFTER_MS);
  }

  #fit() {
    this.field.classList.toggle("long", this.field.value.length > MEASURED_CHARACTERS);
    if (CSS.supports("field-sizing", "content") || this.field.value.length > MEASURED_CHARACTERS) return;
    this.field.style.height = "auto";
    this.field.style.height = `${this.field.scrollHeight}px`;
  }

  #keep() {
    clearTimeout(this.keeping);
    try {
      if (this.field.value) localStorage.setItem(place(this.chatId), this.field.value);
      else localStorage.removeItem(place(this.chatId));
    } catch (error) {
      if (error.name !== "QuotaExceededError") throw error;
      this.actions.warn("This question is too long for the browser to keep: it is lost if you leave the page before sending it.");
    }
  }
}
