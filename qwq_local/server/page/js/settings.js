// How answers are made: the model, the system message and the sampling of this chat, or of those to come.

import * as api from "./api.js";
import { byId, make } from "./dom.js";

const PLACE = "qwq.new-chat";
/** Every number that can be set: its name in the API, what it is, its least and greatest value and step. */
export const NUMBERS = [
  { name: "think_tokens", label: "Thinking, at most", unit: "tokens", min: 0, step: 1, empty: "no limit" },
  { name: "max_tokens", label: "Whole answer, at most", unit: "tokens", min: 1, step: 1, empty: "no limit" },
  { name: "temperature", label: "Temperature", min: 0, max: 2, step: "any" },
  { name: "top_p", label: "Top-p", min: 0, max: 1, step: "any" },
  { name: "top_k", label: "Top-k", min: 0, step: 1 },
  { name: "min_p", label: "Min-p", min: 0, max: 1, step: "any" },
  { name: "presence_penalty", label: "Presence penalty", min: -2, max: 2, step: "any" },
  { name: "seed", label: "Seed", min: 0, step: 1, empty: "random" },
];

/** What new chats begin with. @returns {{system: string, options: Record<string, unknown>, model: string}} */
export function forNewChats() {
  return { system: "", options: {}, model: "", ...JSON.parse(localStorage.getItem(PLACE) ?? "{}") };
}

export class Settings {
  /** @param {{current: () => import("./tree.js").Chat|null, changed: () => void, failed: (error: Error) => void}} listeners */
  constructor(listeners) {
    this.listeners = listeners;
    this.dialog = /** @type {HTMLDialogElement} */ (byId("settings"));
    this.form = /** @type {HTMLFormElement} */ (this.dialog.querySelector("form"));
    const fields = this.form.elements;
    this.model = fields.namedItem("model");
    this.system = fields.namedItem("system");
    this.thinks = fields.namedItem("thinks");
    byId("numbers").append(...NUMBERS.map(field));
    this.thinks.addEventListener("change", () => this.#showThinking());
    byId("reset").addEventListener("click", () => this.#fill({ system: "", options: {}, model: this.model.value }));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#save();
    });
  }

  /** What the next question is asked with, beside the chat's own options. */
  how() {
    const { model } = forNewChats();
    return model ? { model } : {};
  }

  async open() {
    byId("settings-error").textContent = "";
    const chat = this.listeners.current();
    byId("settings-for").textContent = chat ? "For this chat. New chats begin with the same." : "For new chats.";
    this.#fill({ ...forNewChats(), ...(chat ? { system: chat.system, options: chat.options } : {}) });
    this.dialog.showModal();
    try {
      const [names, { defaults = {} }] = await Promise.all([api.models(), api.machine()]);
      const chosen = this.model.value;
      this.model.replaceChildren(...["", ...names].map((name) => make("option", { value: name }, name || "The one that is loaded")));
      this.model.value = names.includes(chosen) ? chosen : "";
      for (const { name, empty } of NUMBERS) this.form.elements.namedItem(name).placeholder = String(defaults[name] ?? empty ?? "");
    } catch (error) {
      byId("settings-error").textContent = error.message;
    }
  }

  #fill({ system, options, model }) {
    const shown = ["thinks", ...NUMBERS.map(({ name }) => name)];
    this.others = Object.fromEntries(Object.entries(options).filter(([name]) => !shown.includes(name)));
    this.system.value = system;
    if (model && ![...this.model.options].some((option) => option.value === model)) this.model.append(make("option", { value: model }, model));
    this.model.value = model;
    this.thinks.checked = options.thinks !== false;
    for (const { name } of NUMBERS) this.form.elements.namedItem(name).value = options[name] ?? "";
    this.#showThinking();
  }

  #showThinking() {
    this.form.elements.namedItem("think_tokens").disabled = !this.thinks.checked;
  }

  #read() {
    const options = { ...this.others, ...(this.thinks.checked ? {} : { thinks: false }) };
    for (const { name } of NUMBERS) {
      const { value, disabled } = this.form.elements.namedItem(name);
      if (value !== "" && !disabled) options[name] = Number(value);
    }
    return { system: this.system.value.trim(), options };
  }

  async #save() {
    const told = this.#read();
    const chat = this.listeners.current();
    try {
      if (chat) await api.changeChat(chat.id, told);
    } catch (error) {
      byId("settings-error").textContent = error.message;
      return;
    }
    localStorage.setItem(PLACE, JSON.stringify({ ...told, model: this.model.value }));
    this.dialog.close();
    this.listeners.changed();
  }
}

function field({ name, label, unit, min, max, step }) {
  const input = make("input", { type: "number", name, id: `option-${name}`, step, inputMode: "decimal" });
  if (min !== undefined) input.min = min;
  if (max !== undefined) input.max = max;
  return make("label", { htmlFor: input.id }, make("span", {}, label, unit ? make("small", {}, ` ${unit}`) : ""), input);
}
