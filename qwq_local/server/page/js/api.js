// What the page asks of the server, and the server's errors in its own words.

/** An error that the server told of. */
export class ApiError extends Error {
  /** @param {number} status @param {{message?: string, hint?: string, code?: string}} told */
  constructor(status, told) {
    super([told.message ?? `The server answers ${status}.`, told.hint].filter(Boolean).join(" "));
    this.status = status;
    this.code = told.code ?? "";
  }
}

/** The server did not answer at all. */
export class GoneError extends Error {
  constructor() {
    super("The server does not answer.");
  }
}

const KEY = "qwq.key";
let askForKey = async () => "";

/** `ask` resolves to a key that someone typed, or to "" where they would not. @param {(wasRefused: boolean) => Promise<string>} ask */
export const onMissingKey = (ask) => {
  askForKey = ask;
};

/** A key is asked for once, whoever finds out first that there must be one. */
let asking = null;
async function newKey(refused) {
  const known = sessionStorage.getItem(KEY) ?? "";
  if (known !== refused) return known;
  asking ??= askForKey(Boolean(refused)).finally(() => {
    asking = null;
  });
  const key = await asking;
  if (key) sessionStorage.setItem(KEY, key);
  return key;
}

/** @param {string} path @param {RequestInit} [init] @returns {Promise<Response>} */
async function request(path, init = {}) {
  const key = sessionStorage.getItem(KEY) ?? "";
  const headers = { ...init.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...init, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new GoneError();
  }
  if (response.status === 401) {
    if (await newKey(key)) return request(path, init);
    throw new ApiError(401, (await body(response)).error ?? {});
  }
  if (!response.ok) throw new ApiError(response.status, (await body(response)).error ?? {});
  return response;
}

/** An answer's JSON; {} where there is none, as from a proxy that answers in the server's place. */
async function body(response) {
  const text = await response.text();
  return (response.headers.get("content-type") ?? "").includes("json") ? JSON.parse(text) : {};
}

const json = async (path, init) => (await request(path, init)).json();
const sending = (method, content) => ({ method, body: JSON.stringify(content), headers: { "Content-Type": "application/json" } });
const chat = (id) => `/chats/${encodeURIComponent(id)}`;

/** The list, or what comes behind one of its chats. @param {{search?: string, after?: {id: string, updated_at: number}|null, limit?: number}} [what] */
export const listChats = ({ search = "", after = null, limit = 50 } = {}, signal) => {
  const from = after ? { before: String(after.updated_at), before_id: after.id } : {};
  const query = new URLSearchParams({ limit: String(limit), ...(search ? { search } : {}), ...from });
  return json(`/chats?${query}`, { signal });
};
export const startChat = (question) => json("/chats", sending("POST", question));
export const getChat = (id, signal) => json(chat(id), { signal });
export const changeChat = (id, changes) => json(chat(id), sending("PATCH", changes));
export const deleteChat = (id) => request(chat(id), { method: "DELETE" });
export const ask = (id, question) => json(`${chat(id)}/messages`, sending("POST", question));
export const retry = (id, questionId, how) => json(`${chat(id)}/messages/${questionId}/answers`, sending("POST", how));
export const stop = (id) => request(`${chat(id)}/stop`, { method: "POST" });
export const answerNow = (id) => request(`${chat(id)}/answer-now`, { method: "POST" });
export const machine = () => json("/machine");
export const models = async () => (await json("/v1/models")).data.map((model) => model.id);

/** How the server is: `status` "loading" with its `loaded_share`, "error", …; told with 503 as well as with 200. */
export async function health() {
  try {
    return await (await fetch("/health", { cache: "no-store" })).json();
  } catch {
    throw new GoneError();
  }
}

/** A chat as a file: its content, and the name that the server gives it. @param {"markdown"|"json"} format */
export async function exportChat(id, format) {
  const response = await request(`${chat(id)}/export?format=${format}`);
  const named = /filename="?([^";]+)/.exec(response.headers.get("content-disposition") ?? "");
  return { content: await response.blob(), name: named?.[1] ?? `chat.${format === "json" ? "json" : "md"}` };
}

/**
 * What happens in a chat, as it happens.
 * @param {string} id @param {AbortSignal} signal
 * @returns {AsyncGenerator<{event: string, data: any}>}
 */
export async function* events(id, signal) {
  const response = await request(`${chat(id)}/events`, { signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  try {
    for (;;) {
      const { value, done } = await reader.read().catch((error) => {
        if (error.name === "AbortError") throw error;
        throw new GoneError();
      });
      if (done) return;
      const parts = (held + value).split(/\r?\n\r?\n/);
      held = parts.pop() ?? "";
      for (const part of parts) {
        const found = readEvent(part);
        if (found) yield found;
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // whoever leaves early hears no more of it, nor how that went
  }
}

/** One event of a stream; null for a comment, which only keeps the connection alive. @param {string} text */
export function readEvent(text) {
  let event = "message";
  const data = [];
  for (const line of text.split(/\r?\n/)) {
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    if (field === "event") event = value;
    if (field === "data") data.push(value);
  }
  return data.length ? { event, data: JSON.parse(data.join("\n")) } : null;
}
