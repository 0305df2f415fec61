// Blocks of code: their language, a button that copies them, and colours once highlight.js is there.

import { iconButton, make } from "./dom.js";
import { copyText } from "./clipboard.js";
import { sanitize } from "./sanitize.js";

const FOLDER = new URL("../vendor/highlightjs-cdn-assets-11.12.0/es/", import.meta.url);
/** Longer code is shown without colours: finding them would hold up the page. */
const MAX_LENGTH = 100_000;
const SHIPPED = new Set(
  ("bash c cmake coq cpp csharp css diff dockerfile fortran go haskell ini java javascript json julia kotlin latex lua makefile markdown " +
    "matlab perl php plaintext powershell python r ruby rust scala shell sql swift typescript xml yaml").split(" "),
);
const OTHER_NAMES = {
  "c++": "cpp", "c#": "csharp", cs: "csharp", f90: "fortran", golang: "go", h: "c", hpp: "cpp", hs: "haskell", html: "xml", js: "javascript",
  jsx: "javascript", kt: "kotlin", make: "makefile", md: "markdown", ps1: "powershell", py: "python", python3: "python", rb: "ruby",
  rs: "rust", sh: "bash", svg: "xml", tex: "latex", toml: "ini", ts: "typescript", tsx: "typescript", yml: "yaml", zsh: "bash",
};

/** @type {Map<string, Promise<void>>} */
const languages = new Map();
let core = null;

async function highlighter(language) {
  core ??= import(new URL("core.min.js", FOLDER).href);
  const hljs = (await core).default;
  if (!languages.has(language)) {
    const grammar = import(new URL(`languages/${language}.min.js`, FOLDER).href);
    languages.set(language, grammar.then((module) => hljs.registerLanguage(language, module.default)));
  }
  await languages.get(language);
  return hljs;
}

/** Gives every block of code below an element its head and its colours. @param {ParentNode} root @param {boolean} isWriting */
export function dressCode(root, isWriting) {
  for (const code of root.querySelectorAll("pre > code")) {
    const name = (code.dataset.language ?? "").trim().split(/\s/)[0].toLowerCase();
    const pre = /** @type {HTMLElement} */ (code.parentElement);
    pre.tabIndex = 0;
    const head = make("div", { className: "code-head" }, make("span", {}, name || "text"));
    const copy = iconButton("copy", "Copy the code", () => copyText(code.textContent, copy), "Copy");
    head.append(copy);
    const box = make("div", { className: "code" });
    pre.replaceWith(box);
    box.append(head, pre);
    if (!isWriting) colour(code, OTHER_NAMES[name] ?? name);
  }
}

async function colour(code, language) {
  if (!SHIPPED.has(language) || code.textContent.length > MAX_LENGTH) return;
  const hljs = await highlighter(language);
  const { value } = hljs.highlight(code.textContent, { language, ignoreIllegals: true });
  code.replaceChildren(sanitize(value));
}
