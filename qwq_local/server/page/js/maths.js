// Maths: found in an answer's text, and set by KaTeX, which is loaded when the first formula comes.

const FOLDER = new URL("../vendor/katex-0.19.1/dist/", import.meta.url);
/** What a model writes decides what KaTeX is given: macros that expand for ever and boxes as large as a house are cut off. */
const LIMITS = { trust: false, throwOnError: true, strict: "ignore", maxExpand: 500, maxSize: 20, errorColor: "currentColor" };
const MAX_LENGTH = 20_000;
const MAX_KEPT = 300;

let loading = null;
/** @type {Map<string, Node>} */
const kept = new Map();

function load() {
  loading ??= new Promise((resolve, reject) => {
    const style = document.createElement("link");
    style.rel = "stylesheet";
    style.href = new URL("katex-swap.min.css", FOLDER).href;
    document.head.append(style);
    import(new URL("katex.min.js", FOLDER).href).then(() => resolve(globalThis.katex), reject);
  });
  return loading;
}

/** Sets every formula below an element, where its TeX stands as text. @param {ParentNode} root */
export async function setMaths(root) {
  const places = [...root.querySelectorAll(".maths:not([data-set])")].filter((place) => place.textContent.length <= MAX_LENGTH);
  if (!places.length) return;
  const katex = globalThis.katex ?? (await load());
  for (const place of places) setOne(katex, place);
}

function setOne(katex, place) {
  const tex = place.textContent;
  const displayMode = place.classList.contains("display");
  const key = `${displayMode}${tex}`;
  place.dataset.set = "";
  place.dataset.tex = tex;
  if (!kept.has(key)) {
    if (kept.size >= MAX_KEPT) kept.delete(kept.keys().next().value);
    kept.set(key, rendered(katex, tex, displayMode));
  }
  place.replaceChildren(kept.get(key).cloneNode(true));
}

/** A formula; its TeX where KaTeX cannot read it, or would go too deep. */
function rendered(katex, tex, displayMode) {
  const box = document.createElement("span");
  try {
    katex.render(tex, box, { ...LIMITS, displayMode });
  } catch (error) {
    if (!(error instanceof katex.ParseError || error instanceof RangeError)) throw error;
    box.textContent = tex;
    box.className = "unread";
    box.title = error.message;
  }
  return box;
}

/** Where the brace that is open at `start` is closed; -1 where it is not. */
function closingBrace(text, start) {
  let depth = 0;
  for (let i = start; i < text.length; i += 1) {
    if (text[i] === "\\") i += 1;
    else if (text[i] === "{") depth += 1;
    else if (text[i] === "}" && (depth -= 1) === 0) return i;
  }
  return -1;
}

function boxed(source) {
  const end = source.startsWith("\\boxed{") ? closingBrace(source, 6) : -1;
  return end < 0 ? undefined : { raw: source.slice(0, end + 1), tex: source.slice(0, end + 1), isDisplay: false };
}

/** Formulas within a line. A lone $ is one only where it hugs its formula and no digit follows, so that $5 and $6 stay money. */
const INLINE = [
  [/^\$\$((?:[^$\\]|\\[\s\S])+?)\$\$/, true],
  [/^\\\[([\s\S]+?)\\\]/, true],
  [/^\\\(([\s\S]+?)\\\)/, false],
  [/^\$((?![\s$])(?:[^$\\\n]|\\.)*?(?:[^\s$\\]|\\.))\$(?!\d)/, false],
];
const BLOCK = [/^ {0,3}\$\$([\s\S]+?)\$\$[ \t]*(?:\n|$)/, /^ {0,3}\\\[([\s\S]+?)\\\][ \t.,;]*(?:\n|$)/];
/** A formula that is still being written: nothing of it is shown as text, since its TeX would only flicker. */
const UNFINISHED = /^ {0,3}(?:\$\$|\\\[)(?![\s\S]*(?:\$\$|\\\]))[\s\S]*$/;

function inline(source) {
  for (const [pattern, isDisplay] of INLINE) {
    const found = pattern.exec(source);
    if (found) return { raw: found[0], tex: found[1].trim(), isDisplay };
  }
  return boxed(source);
}

function block(source, isWriting) {
  for (const pattern of BLOCK) {
    const found = pattern.exec(source);
    if (found) return { raw: found[0], tex: found[1].trim(), isDisplay: true };
  }
  if (!isWriting || !UNFINISHED.test(source.slice(0, 4000)) || /\n\s*\n/.test(source.slice(0, 4000))) return undefined;
  return { raw: source, tex: "", isDisplay: true };
}

const escape = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

/** What marked is taught of maths. @param {() => boolean} isWriting whether the text may still go on */
export const extensions = (isWriting) => [
  {
    name: "mathsBlock",
    level: "block",
    start: (source) => /\n {0,3}(?:\$\$|\\\[)/.exec(source)?.index,
    tokenizer(source) {
      const found = block(source, isWriting());
      return found && { type: "mathsBlock", ...found };
    },
    renderer: (token) => `<div class="maths display">${escape(token.tex)}</div>`,
  },
  {
    name: "mathsInline",
    level: "inline",
    start: (source) => /\$|\\[([]|\\boxed\{/.exec(source)?.index,
    tokenizer(source) {
      const found = inline(source);
      return found && { type: "mathsInline", ...found };
    },
    renderer: (token) => `<span class="maths${token.isDisplay ? " display" : ""}">${escape(token.tex)}</span>`,
  },
];
