// A chat is a tree of messages: an edited question and another answer are siblings of the first (pure).

/**
 * @typedef {{id: number, parent_id: number|null, role: "user"|"assistant"|"tool", content: string, reasoning: string,
 *   tool_calls: {name: string, arguments: unknown}[], state: "whole"|"writing"|"stopped"|"failed"|"lost", error: string, model: string,
 *   finish_reason: string, usage: Record<string, number>, rope: string, created_at: number, thought_seconds: number, seconds: number,
 *   n_tokens: number}} Message
 * @typedef {{id: string, title: string, system: string, options: Record<string, unknown>, leaf_id: number|null, messages: Message[]}} Chat
 */

/** The messages from the first to the leaf. @param {Chat} chat @returns {Message[]} */
export function path(chat) {
  const byId = new Map(chat.messages.map((message) => [message.id, message]));
  const found = [];
  for (let message = byId.get(chat.leaf_id); message; message = byId.get(message.parent_id)) found.unshift(message);
  return found;
}

/** Which of its siblings a message is (from 0), and the ids of all. @param {Chat} chat @param {Message} message */
export function branches(chat, message) {
  const ids = chat.messages.filter((other) => other.parent_id === message.parent_id).map((other) => other.id).sort((a, b) => a - b);
  return { at: ids.indexOf(message.id), ids };
}

/** The newest leaf below a message. @param {Chat} chat @param {number} id */
export function latestLeaf(chat, id) {
  const children = chat.messages.filter((message) => message.parent_id === id).map((message) => message.id);
  return children.length ? latestLeaf(chat, Math.max(...children)) : id;
}
