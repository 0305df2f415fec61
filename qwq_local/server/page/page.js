// The page: one chat with the model on duty, by the same endpoint that every client uses. What a model writes is only ever put in as text.
"use strict";

const at = (id) => document.getElementById(id);
const messages = [];
let running = null;

const headers = () => {
  const key = at("key").value || sessionStorage.getItem("key") || "";
  if (key) sessionStorage.setItem("key", key);
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
};

const make = (parent, tag, className, text = "") => {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  parent.append(element);
  return element;
};

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const parts = held.split("\n\n");
    held = parts.pop();
    for (const part of parts) {
      const data = part.startsWith("data: ") ? part.slice(6) : "";
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

const turn = () => {
  const box = make(at("chat"), "div", "turn");
  const fold = make(box, "details", "");
  const head = make(fold, "summary", "", "Thinking …");
  const thought = make(fold, "div", "");
  const answer = make(box, "div", "answer");
  const startedAt = performance.now();
  const clock = setInterval(() => {
    if (!answer.textContent) head.textContent = `Thinking … ${Math.round((performance.now() - startedAt) / 1000)} s`;
  }, 1000);
  return {
    think: (text) => { thought.textContent += text; },
    say: (text) => {
      if (!answer.textContent && text) head.textContent = `Thought for ${Math.round((performance.now() - startedAt) / 1000)} s`;
      answer.textContent += text;
    },
    end: (note) => {
      clearInterval(clock);
      if (!thought.textContent) fold.remove();
      if (note) make(box, "div", "error", note);
      return answer.textContent;
    },
  };
};

const told = async (response) => {
  if (response.status === 401) at("key").hidden = at("key-label").hidden = false;
  const body = await response.json().catch(() => null);
  return body?.error?.message ?? `The server answers ${response.status}.`;
};

const answer = async (shown, signal) => {
  const body = JSON.stringify({ model: "", messages, stream: true });
  const response = await fetch("/v1/chat/completions", { method: "POST", headers: headers(), body, signal });
  if (!response.ok) return told(response);
  for await (const chunk of events(response)) {
    if (chunk.error) return chunk.error.message;
    const delta = chunk.choices[0]?.delta ?? {};
    shown.think(delta.reasoning_content ?? "");
    shown.say(delta.content ?? "");
    if (chunk.choices[0]?.finish_reason === "length") return "The answer was cut short: the context is full.";
  }
  return "";
};

const ask = async (question) => {
  messages.push({ role: "user", content: question });
  make(at("chat"), "div", "turn question", question);
  const shown = turn();
  running = new AbortController();
  at("stop").hidden = false;
  at("send").disabled = true;
  const note = await answer(shown, running.signal).catch((error) => (error.name === "AbortError" ? "Stopped." : "The server is gone."));
  const content = shown.end(note);
  if (content) messages.push({ role: "assistant", content });
  else messages.pop();
  running = null;
  at("stop").hidden = true;
  at("send").disabled = false;
  at("question").focus();
};

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = at("question").value.trim();
  if (!question || running) return;
  at("question").value = "";
  ask(question);
});
at("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    at("ask").requestSubmit();
  }
});
at("stop").addEventListener("click", () => running?.abort());
at("clear").addEventListener("click", () => {
  running?.abort();
  messages.length = 0;
  at("chat").replaceChildren();
});

const look = async () => {
  const health = await fetch("/health").then((response) => response.json()).catch(() => null);
  const share = health ? `${Math.round(100 * health.loaded_share)} %` : "";
  const texts = {
    ok: () => `${health.model}: ready`,
    loading: () => `${health.model}: loading, ${share}`,
    unloaded: () => `${health.model}: loads with the next question`,
    error: () => `${health.model}: ${health.error}`,
    stopping: () => "The server is stopping.",
  };
  at("status").textContent = health ? texts[health.status]() : "The server does not answer.";
  setTimeout(look, health?.status === "loading" ? 500 : 5000);
};

at("example").textContent = `from openai import OpenAI

client = OpenAI(base_url="${location.origin}/v1", api_key="none")
for chunk in client.chat.completions.create(model="qwq-32b", stream=True,
        messages=[{"role": "user", "content": "What is 47 + 85?"}]):
    delta = chunk.choices[0].delta
    print(getattr(delta, "reasoning_content", None) or delta.content or "", end="")`;
look();
