// The chat that is open: its messages, and the answer that is being written.

import * as api from "./api.js";
import { announce } from "./announce.js";
import { arrange, byId } from "./dom.js";
import { AnswerView, QuestionView, ToolView } from "./message.js";
import { branches, latestLeaf, path } from "./tree.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 5000;
/** How near to the end someone reads who wants to see what comes next. */
const NEAR_PX = 80;
const MARKED_MS = 2500;
const NOTES = {
  rope_switched: () => "Reading again, now for a long context…",
  thought_closed: () => "",
};
const VIEWS = { user: QuestionView, assistant: AnswerView, tool: ToolView };

const sleep = (ms, signal) =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
    signal.addEventListener("abort", resolve, { once: true });
  });

/** Resolves when the page is hidden, or when it is shown; or at the signal. @param {boolean} isHidden @param {AbortSignal} signal */
const whenPageIs = (isHidden, signal) =>
  new Promise((resolve) => {
    const look = () => document.hidden === isHidden && resolve();
    document.addEventListener("visibilitychange", look, { signal });
    signal.addEventListener("abort", resolve, { once: true });
    look();
  });

/** One chat at a time, shown in the log; `listeners` are told of what others must know. */
export class Conversation {
  /** @param {{changed: () => void, reached: (is: boolean) => void, failed: (error: Error) => void, how: () => object}} listeners */
  constructor(listeners) {
    this.log = byId("log");
    this.scroller = byId("conversation");
    this.listeners = listeners;
    /** @type {import("./tree.js").Chat|null} */
    this.chat = null;
    this.views = new Map();
    this.listening = new AbortController();
    this.follows = true;
    this.scroller.addEventListener("scroll", () => this.#noteReader(), { passive: true });
    setInterval(() => this.writing?.tick(), 1000);
  }

  /** The view of the answer that is being written, if one is. */
  get writing() {
    const view = this.views.get(this.chat?.leaf_id);
    return view?.isWriting ? view : null;
  }

  get isEmpty() {
    return !this.chat?.messages.length;
  }

  close() {
    this.listening.abort();
    this.isAwaited = false;
    this.chat = null;
    this.views.clear();
    this.#show();
  }

  /** Shows a chat, and listens where its answer is being written. @param {string} id */
  async open(id) {
    this.listening.abort();
    const mine = (this.listening = new AbortController());
    const chat = await this.#fetch(id, mine.signal);
    if (mine.signal.aborted || !chat) return;
    if (this.chat?.id !== chat.id) {
      this.isAwaited = !this.chat && this.isAwaited;
      this.views.clear();
    }
    this.chat = chat;
    this.follows = true;
    this.#show();
    this.#listen(mine.signal);
  }

  /** Shows the branch with a message, and where it stands there. @param {number} id */
  async seek(id) {
    if (!this.chat?.messages.some((message) => message.id === id)) return;
    if (!path(this.chat).some((message) => message.id === id)) {
      await this.#replace(await api.changeChat(this.chat.id, { leaf_id: latestLeaf(this.chat, id) }));
    }
    const root = this.views.get(id)?.root;
    if (!root) return;
    this.follows = false;
    root.scrollIntoView({ block: "start" });
    root.classList.add("found");
    setTimeout(() => root.classList.remove("found"), MARKED_MS);
  }

  /** The chat as the server has it, however long the server is away. */
  async #fetch(id, signal) {
    for (let wait = FIRST_WAIT_MS; !signal.aborted; wait = Math.min(2 * wait, LONGEST_WAIT_MS)) {
      try {
        const chat = await api.getChat(id, signal);
        this.listeners.reached(true);
        return chat;
      } catch (error) {
        if (error.name === "AbortError") return null;
        if (!(error instanceof api.GoneError)) throw error;
        this.listeners.reached(false);
        await sleep(wait, signal);
      }
    }
    return null;
  }

  /** Listens while the page is seen: a browser has six connections to a server, for all of its tabs together. */
  async #listen(signal) {
    for (let wait = FIRST_WAIT_MS; !signal.aborted && this.writing; wait = Math.min(2 * wait, LONGEST_WAIT_MS)) {
      const heard = new AbortController();
      const either = AbortSignal.any([signal, heard.signal]);
      whenPageIs(true, either).then(() => heard.abort());
      try {
        for await (const { event, data } of api.events(this.chat.id, either)) {
          this.listeners.reached(true);
          wait = FIRST_WAIT_MS;
          if (data.id && data.id !== this.chat.leaf_id) break; // another answer, begun elsewhere: what it belongs to is asked for below
          this.#hear(event, data);
        }
      } catch (error) {
        if (error instanceof api.GoneError) this.listeners.reached(false);
        else if (error.name !== "AbortError") this.listeners.failed(error);
        if (error.status === 404) return;
      }
      heard.abort();
      if (signal.aborted) return;
      if (document.hidden) await whenPageIs(false, signal);
      else if (this.writing) await sleep(wait, signal);
      if (!signal.aborted) await this.#refresh(signal);
    }
  }

  /** What the server has now: the whole chat, since titles and branches may have changed as well. */
  async #refresh(signal) {
    const chat = await this.#fetch(this.chat.id, signal).catch(this.listeners.failed);
    if (!chat || signal.aborted) return;
    this.chat = chat;
    this.#show();
    this.listeners.changed();
  }

  #hear(event, data) {
    const view = this.writing;
    if (!view) return;
    const wasThinking = view.isThinking;
    if (event === "state" || event === "end") view.update(data);
    if (event === "think") view.think(data.text, data.n_tokens);
    if (event === "say") view.say(data.text, data.n_tokens);
    if (event === "waiting") view.tell("Waiting…");
    if (event === "note") view.tell(NOTES[data.kind]?.(data) ?? "");
    if (view.isThinking !== wasThinking || event === "end") {
      view.tick();
      this.listeners.changed();
    }
    if (!wasThinking && view.isThinking) announce("Thinking");
    this.#announceEnd();
    this.stick();
  }

  #show() {
    const messages = this.chat ? path(this.chat) : [];
    const shown = messages.map((message) => {
      const known = this.views.get(message.id);
      if (known) known.update(message);
      const view = known ?? new VIEWS[message.role](message, this.#actions(message));
      this.views.set(message.id, view);
      view.showBranches(branches(this.chat, message));
      return view.root;
    });
    arrange(this.log, shown);
    this.#announceEnd();
    this.listeners.changed();
    this.stick();
  }

  /** Says once that an answer is there, however one came to know of it. */
  #announceEnd() {
    if (this.writing) this.isAwaited = true;
    else if (this.isAwaited) {
      this.isAwaited = false;
      const { state } = this.views.get(this.chat?.leaf_id)?.message ?? {};
      announce(state === "whole" ? "Answer complete" : "The answer ended");
    }
  }

  #actions(message) {
    return {
      choose: (id) => this.#try(async () => this.#replace(await api.changeChat(this.chat.id, { leaf_id: latestLeaf(this.chat, id) }))),
      edit: (question, content) => this.ask(content, question.parent_id),
      retry: () => this.#try(() => this.#begin((id) => api.retry(id, message.parent_id, this.listeners.how()))),
      grown: () => this.stick(),
    };
  }

  #replace(chat) {
    this.chat = chat;
    return this.open(chat.id);
  }

  /** Has something begun, and shows it; unless another chat was opened in the meantime. */
  async #begin(asking) {
    const { id } = this.chat;
    await asking(id);
    if (this.chat?.id !== id) return;
    this.isAwaited = true;
    await this.open(id);
  }

  /** Asks something behind a message, or behind the last; whether it was taken. */
  ask(content, parentId = this.chat?.leaf_id ?? null) {
    return this.#try(() => this.#begin((id) => api.ask(id, { content, parent_id: parentId, ...this.listeners.how() })));
  }

  stop() {
    return this.writing ? this.#try(() => api.stop(this.chat.id)) : false;
  }

  answerNow() {
    return this.#try(() => api.answerNow(this.chat.id));
  }

  async #try(doing) {
    try {
      await doing();
      return true;
    } catch (error) {
      this.listeners.failed(error);
      return false;
    }
  }

  #noteReader() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.follows = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    byId("to-end").hidden = this.follows;
  }

  /** Keeps the end in sight of those who read there. */
  stick() {
    if (this.follows) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  toEnd() {
    this.follows = true;
    this.stick();
  }
}
