// How one message looks: a question as plain text that can be edited, an answer with its thoughts folded away.

import { copyText } from "./clipboard.js";
import { icon, iconButton, make } from "./dom.js";
import { duration, speed, tokens } from "./format.js";
import { MarkdownView, withoutControls } from "./markdown.js";

/** Longer questions are cut until someone wants to see them whole: pasted files of a megabyte would take seconds to lay out. */
const SHOWN_CHARACTERS = 6000;
/** How much longer than the last rendering took the next one waits: the page stays quick however long an answer grows. */
const REST = 4;
const MIN_REST_MS = 50;

/** What both kinds of message have: their place, and a row with branches and buttons. */
class MessageView {
  /** @param {string} kind @param {string} label @param {import("./tree.js").Message} message */
  constructor(kind, label, message, actions) {
    this.message = message;
    this.actions = actions;
    this.root = make("article", { className: `message ${kind}`, aria: { label }, data: { id: String(message.id) } });
    this.bar = make("div", { className: "bar" });
    this.branches = make("span", { className: "branches" });
  }

  /** Shows which of its siblings this is. @param {{at: number, ids: number[]}} siblings */
  showBranches({ at, ids }) {
    this.branches.hidden = ids.length < 2;
    if (ids.length < 2) return;
    const turn = (name, label, to) => {
      const button = iconButton(name, label, () => this.actions.choose(to));
      /** @type {HTMLButtonElement} */ (button).disabled = to === undefined;
      return button;
    };
    this.branches.replaceChildren(
      turn("left", "Previous version", ids[at - 1]),
      make("span", { className: "figures" }, `${at + 1}/${ids.length}`),
      turn("right", "Next version", ids[at + 1]),
    );
  }
}

/** What someone asked. */
export class QuestionView extends MessageView {
  constructor(message, actions) {
    super("question", "Your question", message, actions);
    this.text = make("div", { className: "text" });
    this.#show(message.content.length > SHOWN_CHARACTERS);
    this.copy = iconButton("copy", "Copy the question", () => copyText(message.content, this.copy));
    this.change = iconButton("edit", "Edit the question", () => this.#edit());
    this.bar.append(this.branches, this.change, this.copy);
    this.root.append(this.text, this.bar);
  }

  update() {}

  #show(isCut) {
    const { content } = this.message;
    this.text.replaceChildren(isCut ? `${content.slice(0, SHOWN_CHARACTERS)}…` : content);
    if (!isCut) return;
    const all = make("button", { type: "button", className: "link" }, `Show all ${content.length.toLocaleString("en")} characters`);
    all.addEventListener("click", () => this.#show(false));
    this.text.append(make("div", {}, all));
  }

  #edit() {
    const field = make("textarea", { value: this.message.content, rows: 3, aria: { label: "Edit the question" } });
    const ask = make("button", { type: "submit", className: "primary" }, "Ask");
    const leave = make("button", { type: "button" }, "Cancel");
    const form = make("form", { className: "edit" }, field, make("div", { className: "row" }, ask, leave));
    const close = () => {
      form.replaceWith(this.text);
      this.bar.hidden = false;
      this.change.focus();
    };
    leave.addEventListener("click", close);
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        close();
      }
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (field.value.trim() && (await this.actions.edit(this.message, field.value))) close();
    });
    this.text.replaceWith(form);
    this.bar.hidden = true;
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }
}

const ENDS = {
  stopped: () => "You stopped this answer.",
  lost: () => "The program ended while this answer was written. What had come is kept.",
  failed: (message) => message.error || "This answer failed.",
};

/** What the model thought and answered. */
export class AnswerView extends MessageView {
  constructor(message, actions) {
    super("answer", "Answer", message, actions);
    this.summary = make("summary", {}, make("span", { className: "dot" }), make("span", { className: "told" }));
    this.thought = make("div", { className: "thought-text" });
    this.fold = make("details", { className: "thought", hidden: true }, this.summary, this.thought);
    this.content = make("div", { className: "prose" });
    this.markdown = new MarkdownView(this.content);
    this.calls = make("div", { className: "calls" });
    this.end = make("div", { className: "end", hidden: true });
    this.copy = iconButton("copy", "Copy the answer", () => copyText(this.message.content, this.copy));
    this.retry = iconButton("retry", "Ask for another answer", () => actions.retry(this.message));
    this.figures = make("span", { className: "figures" });
    this.bar.append(this.branches, this.copy, this.retry, this.figures);
    this.root.append(this.fold, this.content, this.calls, this.end, this.bar);
    this.update(message);
  }

  get isWriting() {
    return this.message.state === "writing";
  }

  get isThinking() {
    return this.isWriting && !this.message.content && Boolean(this.message.reasoning);
  }

  /** Shows a message as the server has it now. @param {import("./tree.js").Message} message */
  update(message) {
    this.message = { ...message };
    const elapsed = message.seconds || Math.max(0, Date.now() / 1000 - message.created_at);
    this.startedAt = performance.now() - 1000 * (this.isWriting ? elapsed : 0);
    this.thoughtTokens = message.usage?.reasoning_tokens ?? (message.content ? 0 : message.n_tokens);
    this.note = "";
    this.thought.textContent = withoutControls(message.reasoning);
    this.calls.replaceChildren(...message.tool_calls.map(({ name, arguments: given }) => make("code", {}, withoutControls(`${name}(${given})`))));
    this.#render();
    this.tick();
    this.#showEnd();
  }

  think(text, n) {
    this.message.reasoning += text;
    this.message.n_tokens += n;
    this.thoughtTokens += n;
    this.thought.append(withoutControls(text));
    this.note = "";
  }

  say(text, n) {
    if (!this.message.content && text) this.message.thought_seconds ||= (performance.now() - this.startedAt) / 1000;
    this.message.content += text;
    this.message.n_tokens += n;
    this.note = "";
    this.#renderSoon();
  }

  /** What is known while nothing comes yet. @param {string} note */
  tell(note) {
    this.note = note;
    this.tick();
  }

  /** The clock, and all that it changes; called every second while the answer is written. */
  tick() {
    const { reasoning, content, thought_seconds: seconds } = this.message;
    this.root.classList.toggle("writing", this.isWriting);
    this.root.classList.toggle("thinking", this.isThinking);
    this.fold.hidden = !reasoning && !(this.isWriting && !content);
    const told = this.thoughtTokens ? ` · ${tokens(this.thoughtTokens)}` : "";
    const now = duration((performance.now() - this.startedAt) / 1000);
    const word = this.note || (reasoning ? "Thinking…" : "Reading…");
    const isOpen = this.isWriting && !content;
    this.summary.lastChild.textContent = isOpen ? `${word} ${now}${told}` : `Thought for ${duration(seconds, true)}${told}`;
  }

  #renderSoon() {
    if (this.pending) return;
    this.pending = setTimeout(() => this.#render(), Math.max(MIN_REST_MS, REST * (this.renderMs ?? 0)));
  }

  #render() {
    clearTimeout(this.pending);
    this.pending = 0;
    const startedAt = performance.now();
    this.markdown.show(this.message.content, this.isWriting);
    this.renderMs = performance.now() - startedAt;
    this.actions.grown();
  }

  #showEnd() {
    const { state, finish_reason: reason, error, usage = {}, seconds, n_tokens: n } = this.message;
    const wasCut = state === "whole" && reason === "length";
    const told = wasCut ? error || "The answer was cut short: its tokens were used up." : ENDS[state]?.(this.message);
    this.end.hidden = !told;
    this.end.className = `end ${state === "failed" ? "bad" : ""}`;
    if (told) {
      const again = make("button", { type: "button" }, "Retry");
      again.addEventListener("click", () => this.actions.retry(this.message));
      this.end.replaceChildren(icon("note"), make("span", {}, told), again);
    }
    this.bar.hidden = this.isWriting;
    const written = usage.completion_tokens || n;
    const figures = written ? [tokens(written), ...(seconds ? [speed(written / seconds), duration(seconds, true)] : [])] : [];
    this.figures.textContent = [...figures, ...(this.message.rope === "yarn" ? ["YaRN"] : [])].join(" · ");
  }
}

/** What a tool gave back: folded, as text. */
export class ToolView extends MessageView {
  constructor(message, actions) {
    super("tool", "Result of a tool", message, actions);
    const text = make("div", { className: "thought-text" }, withoutControls(message.content));
    this.root.append(make("details", { className: "thought" }, make("summary", {}, make("span", { className: "told" }, "A tool’s result")), text));
  }

  update() {}
}
