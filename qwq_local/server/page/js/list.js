// The list of chats: newest first, searched, and what can be done with each.

import * as api from "./api.js";
import { arrange, byId, icon, make } from "./dom.js";
import { day, marked } from "./format.js";

const SEARCH_AFTER_MS = 200;
const PAGE = 50;
/** Who finds more than these looks for another word. */
const FOUND = 200;

export class ChatList {
  /** @param {{failed: (e: Error) => void, told: (notices: string[], problem: string) => void, reached: (is: boolean) => void,
   *   confirm: (question: string, word: string) => Promise<boolean>, gone: (id: string) => void, renamed: (id: string, title: string) => void}} listeners */
  constructor(listeners) {
    this.listeners = listeners;
    this.box = byId("chats");
    this.field = /** @type {HTMLInputElement} */ (byId("search"));
    this.chats = [];
    this.current = "";
    this.menu = byId("chat-menu");
    this.field.addEventListener("input", () => {
      clearTimeout(this.waiting);
      this.waiting = setTimeout(() => this.load(), SEARCH_AFTER_MS);
    });
    byId("more").addEventListener("click", () => this.load(true));
    for (const button of this.menu.querySelectorAll("button")) button.addEventListener("click", () => this.#do(button.dataset.do));
    this.menu.addEventListener("keydown", (event) => this.#step(event));
  }

  /** Asks for the list; with `isMore`, for what comes after it. */
  async load(isMore = false) {
    this.asking?.abort();
    const { signal } = (this.asking = new AbortController());
    const after = isMore ? (this.chats.at(-1) ?? null) : null;
    try {
      const search = this.field.value.trim();
      const told = await api.listChats({ search, after, limit: search ? FOUND : PAGE }, signal);
      this.chats = isMore ? [...this.chats, ...told.chats] : told.chats;
      byId("more").hidden = !told.has_more || Boolean(search);
      this.listeners.reached(true);
      this.listeners.told(told.notices ?? [], told.problem ?? "");
      this.#show();
    } catch (error) {
      if (error instanceof api.GoneError) this.listeners.reached(false);
      else if (error.name !== "AbortError") this.listeners.failed(error);
    }
  }

  /** Asks only whether chats can be kept; the list stays as it is. */
  async check() {
    try {
      const { notices, problem } = await api.listChats({ limit: 1 });
      this.listeners.told(notices, problem);
    } catch (error) {
      if (error instanceof api.GoneError) this.listeners.reached(false);
      else this.listeners.failed(error);
    }
  }

  /** @param {string} id */
  mark(id) {
    this.current = id;
    for (const link of this.box.querySelectorAll("a")) {
      if (link.dataset.id === id) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }

  #show() {
    if (this.box.querySelector(".rename")) return;
    const isSearch = Boolean(this.field.value.trim());
    const groups = new Map();
    for (const chat of this.chats) {
      const name = isSearch ? "Found" : day(chat.updated_at);
      groups.set(name, [...(groups.get(name) ?? []), this.#item(chat)]);
    }
    const shown = [...groups].flatMap(([name, items]) => [make("h2", {}, name), make("ul", {}, ...items)]);
    const none = make("p", { className: "none" }, isSearch ? "Nothing found." : "Your chats will be listed here.");
    arrange(this.box, shown.length ? shown : [none]);
    this.mark(this.current);
  }

  /** A chat's link in the list as it is now. */
  #link(id) {
    return [...this.box.querySelectorAll("a")].find((link) => link.dataset.id === id);
  }

  #item(chat) {
    const title = make("span", { className: "title" }, chat.title || "New chat");
    const link = make("a", { href: `#/c/${chat.id}${chat.message_id ? `/m/${chat.message_id}` : ""}`, data: { id: chat.id } }, title);
    if (chat.is_writing) link.append(make("span", { className: "dot", title: "An answer is being written" }));
    if (chat.snippet) {
      const parts = marked(chat.snippet, chat.spans ?? []).map((part) => (part.isFound ? make("mark", {}, part.text) : part.text));
      link.append(make("span", { className: "snippet" }, ...parts));
    }
    const more = make("button", { type: "button", className: "quiet bare", aria: { label: `More about “${chat.title || "New chat"}”`, haspopup: "menu" } }, icon("more"));
    more.addEventListener("click", () => this.#open(chat, more));
    return make("li", {}, link, more);
  }

  #open(chat, button) {
    this.chosen = chat;
    this.opener = button;
    this.menu.showPopover();
    const at = button.getBoundingClientRect();
    const { offsetHeight: height, offsetWidth: width } = this.menu;
    this.menu.style.left = `${Math.min(at.left, innerWidth - width - 8)}px`;
    this.menu.style.top = `${Math.min(at.bottom + 4, innerHeight - height - 8)}px`;
    this.menu.querySelector("button").focus();
  }

  #step(event) {
    const buttons = [...this.menu.querySelectorAll("button")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length].focus();
  }

  async #do(what) {
    this.menu.hidePopover();
    const { id } = this.chosen;
    const doing = { rename: () => this.#rename(), delete: () => this.#delete(), markdown: () => save(id, "markdown"), json: () => save(id, "json") };
    try {
      await doing[what]();
    } catch (error) {
      this.listeners.failed(error);
    }
  }

  #rename() {
    const { chosen } = this;
    const item = this.#link(chosen.id).closest("li");
    const field = make("input", { value: chosen.title, maxLength: 200, aria: { label: "New title" } });
    const form = make("form", { className: "rename" }, field);
    const before = [...item.childNodes];
    const close = () => item.contains(form) && item.replaceChildren(...before);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const title = field.value.trim();
      if (title && title !== chosen.title) {
        await api.changeChat(chosen.id, { title }).then(() => this.listeners.renamed(chosen.id, title), this.listeners.failed);
      }
      close();
      await this.load();
    });
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      close();
      this.#link(chosen.id).focus();
    });
    field.addEventListener("blur", close);
    item.replaceChildren(form);
    field.select();
    field.focus();
  }

  async #delete() {
    const { id, title } = this.chosen;
    if (!(await this.listeners.confirm(`Delete “${title || "New chat"}” with all its messages? This cannot be undone.`, "Delete"))) return;
    await api.deleteChat(id);
    this.listeners.gone(id);
    await this.load();
  }
}

async function save(id, format) {
  const { content, name } = await api.exportChat(id, format);
  const link = make("a", { href: URL.createObjectURL(content), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

