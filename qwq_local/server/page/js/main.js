// Puts the page together: which chat the address names, and who tells whom.

import * as api from "./api.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { askForKey, confirm, wireDialogs } from "./dialogs.js";
import { byId } from "./dom.js";
import { listenToKeys } from "./keys.js";
import { ChatList } from "./list.js";
import { MachinePanel } from "./machine.js";
import { Settings, forNewChats } from "./settings.js";
import { banner, watchHealth } from "./status.js";
import { wireTheme } from "./theme.js";

const NAME = "QwQ";
const KEEPING_MS = 3000;
/** The chat that the address names, and the message in it that was searched for. */
const inAddress = () => /^#\/c\/([\w-]+)(?:\/m\/(\d+))?$/.exec(location.hash) ?? ["", "", ""];
const idInAddress = () => inAddress()[1];

let isReached = true;
/** Told by whoever finds out; what was missed is asked for when the server is back. */
function reached(is) {
  if (is === isReached) return;
  isReached = is;
  banner("gone", is ? "" : "The server does not answer. Trying again… What you write is kept.", { canClose: false });
  if (is) {
    list.load();
    look();
  }
}

const failed = (error) => {
  if (error instanceof api.GoneError) {
    reached(false);
    look();
  } else banner("error", error.message);
};

/** What was told last of the file that chats are kept in; asked for again while something is written there, or cannot be. */
let keeping = { notices: "", problem: "" };
setInterval(() => (conversation.writing || keeping.problem) && isReached && list.check(), KEEPING_MS);

const list = new ChatList({
  failed,
  reached,
  confirm,
  told: (notices, problem) => {
    if (keeping.notices !== notices.join(" ")) banner("notices", notices.join(" "));
    if (keeping.problem !== problem) banner("problem", problem && `Chats cannot be written at the moment: ${problem}`, { canClose: false });
    keeping = { notices: notices.join(" "), problem };
  },
  renamed: (id, title) => {
    if (conversation.chat?.id !== id) return;
    conversation.chat.title = title;
    showTitle();
  },
  gone: (id) => {
    if (idInAddress() === id) newChat();
  },
});

let wasWriting = false;
const conversation = new Conversation({
  reached,
  failed,
  how: () => settings.how(),
  changed: () => {
    const { writing } = conversation;
    composer.show({ isWriting: Boolean(writing), isThinking: Boolean(writing?.isThinking) });
    document.body.classList.toggle("empty", conversation.isEmpty && !idInAddress());
    showTitle();
    if (wasWriting !== Boolean(writing)) list.load();
    wasWriting = Boolean(writing);
  },
});

const composer = new Composer({
  send: async (text) => {
    banner("error", "");
    if ((conversation.chat?.id ?? "") !== idInAddress()) {
      banner("error", "This chat is not there yet. Ask again in a moment.");
      return false;
    }
    if (conversation.chat) return conversation.ask(text);
    try {
      const { system, options, model } = forNewChats();
      const begun = await api.startChat({ content: text, ...(system && { system }), options, ...(model && { model }) });
      history.pushState(null, "", `#/c/${begun.chat_id}`);
      conversation.isAwaited = true;
      await route();
      list.load(); // a short answer may have been written before anybody saw it begin
      return true;
    } catch (error) {
      failed(error);
      return false;
    }
  },
  stop: () => conversation.stop(),
  answerNow: () => conversation.answerNow(),
  warn: (text) => banner("warning", text),
});

const settings = new Settings({ current: () => conversation.chat, failed, changed: () => conversation.chat && route() });
const panel = new MachinePanel();

function showTitle() {
  const title = conversation.chat?.title || (conversation.chat ? "Chat" : "New chat");
  byId("title").textContent = title;
  document.title = conversation.chat ? `${title} · ${NAME}` : NAME;
}

/** Shows what the address names. */
async function route() {
  const [, id = "", messageId] = inAddress();
  document.body.classList.remove("with-list");
  composer.moveTo(id);
  list.mark(id);
  if (!id) {
    conversation.close();
    composer.focus();
    return;
  }
  try {
    await conversation.open(id);
    if (messageId && id === idInAddress()) {
      history.replaceState(null, "", `#/c/${id}`);
      await conversation.seek(Number(messageId));
    }
  } catch (error) {
    failed(error);
    if (error.status === 404) newChat();
  }
}

function newChat() {
  if (location.hash) history.pushState(null, "", location.pathname);
  route();
}

function showList(is) {
  document.body.classList.toggle("with-list", is);
  byId("open-list").setAttribute("aria-expanded", String(is));
  if (is) byId("search").focus();
}

api.onMissingKey(askForKey);
wireTheme();
wireDialogs();
byId("new-chat").addEventListener("click", newChat);
byId("open-list").addEventListener("click", () => showList(!document.body.classList.contains("with-list")));
byId("shade").addEventListener("click", () => showList(false));
byId("open-settings").addEventListener("click", () => settings.open());
byId("open-machine").addEventListener("click", () => panel.toggle());
byId("to-end").addEventListener("click", () => conversation.toEnd());
for (const button of document.querySelectorAll("#examples button")) {
  button.addEventListener("click", () => {
    composer.field.value = button.textContent;
    byId("ask").requestSubmit();
  });
}
listenToKeys({
  search: () => {
    if (matchMedia("(max-width: 50rem)").matches) showList(true);
    byId("search").focus();
    byId("search").select();
  },
  newChat,
  stop: () => (document.body.classList.contains("with-list") ? showList(false) : conversation.stop()),
  focus: () => composer.focus(),
  settings: () => settings.open(),
  machine: () => panel.toggle(),
  help: () => byId("keys").showModal(),
});
window.addEventListener("popstate", route);
document.addEventListener("visibilitychange", () => document.hidden || list.load());
const look = watchHealth(reached);
list.load();
route();
