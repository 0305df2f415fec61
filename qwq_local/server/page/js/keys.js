// The keyboard, and the list of what it does.

import { byId, make } from "./dom.js";

const IS_MAC = /Mac|iPhone|iPad/.test(navigator.platform);
const COMMAND = IS_MAC ? "⌘" : "Ctrl";

/**
 * @param {Record<string, () => unknown>} actions search, newChat, stop, focus, settings, machine, help
 */
export function listenToKeys(actions) {
  const keys = [
    [[COMMAND, "K"], "Search the chats", (e) => isCommand(e) && e.key.toLowerCase() === "k" && !e.shiftKey, actions.search],
    [[COMMAND, "Shift", "O"], "New chat", (e) => isCommand(e) && e.shiftKey && e.key.toLowerCase() === "o", actions.newChat],
    [[COMMAND, ","], "Settings", (e) => isCommand(e) && e.key === ",", actions.settings],
    [["Esc"], "Stop the answer", (e) => e.key === "Escape" && !document.querySelector("dialog[open]"), actions.stop],
    [["/"], "To the question’s field", (e) => e.key === "/" && isIdle(e), actions.focus],
    [["M"], "Show or hide the machine", (e) => e.key === "m" && isIdle(e), actions.machine],
    [["?"], "This list", (e) => e.key === "?" && isIdle(e), actions.help],
  ];
  document.addEventListener("keydown", (event) => {
    const found = keys.find(([, , matches]) => matches(event));
    if (!found || event.isComposing) return;
    if (event.key !== "Escape") event.preventDefault();
    found[3]();
  });
  const rows = [...keys, [["Enter"], "Ask"], [["Shift", "Enter"], "A new line in the question"]];
  byId("keys-list").append(...rows.flatMap(([names, told]) => [make("dt", {}, ...names.map((name) => make("kbd", {}, name))), make("dd", {}, told)]));
}

const isCommand = (event) => (IS_MAC ? event.metaKey : event.ctrlKey) && !event.altKey;

/** Whether a letter is not meant for a field, nor a dialog. */
const isIdle = (event) =>
  !event.ctrlKey && !event.metaKey && !event.altKey && !event.target.closest("input, textarea, select, dialog[open]");
