// An answer's Markdown as elements. While it is written, only the blocks that changed are made anew.

import { Marked } from "../vendor/marked-18.2.1/lib/marked.esm.js";
import { dressCode } from "./code.js";
import { arrange, make } from "./dom.js";
import { extensions, setMaths } from "./maths.js";
import { sanitize } from "./sanitize.js";

const escape = (text) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

let mayGoOn = false;
const reader = new Marked({
  gfm: true,
  renderer: {
    html: (token) => escape(token.text),
    code: (token) => `<pre><code data-language="${escape(token.lang ?? "")}">${escape(token.text)}</code></pre>`,
    link(token) {
      return `<a href="${escape(token.href)}">${this.parser.parseInline(token.tokens)}</a>`;
    },
    /** Nothing is fetched: an image is a link to it. */
    image: (token) => `<a href="${escape(token.href)}">${escape(token.text || token.href)}</a>`,
    table(token) {
      const cell = (tag) => (one) => {
        const side = one.align ? ` align="${one.align}"` : "";
        return `<${tag}${side}>${this.parser.parseInline(one.tokens)}</${tag}>`;
      };
      const row = (tag) => (cells) => `<tr>${cells.map(cell(tag)).join("")}</tr>`;
      return `<div class="table"><table><thead>${row("th")(token.header)}</thead><tbody>${token.rows.map(row("td")).join("")}</tbody></table></div>`;
    },
  },
});
reader.use({ extensions: extensions(() => mayGoOn) });

/** Control characters have no place in a text; of a terminal's escape sequences, what is left without them is taken away too. */
const SEQUENCES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?)?/g;
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;
export const withoutControls = (text) => text.replace(SEQUENCES, "").replace(CONTROLS, "");

/** One answer's text on the page. */
export class MarkdownView {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    /** @type {{key: string, node: HTMLElement}[]} */
    this.blocks = [];
  }

  /** Shows this text in place of the one before. @param {string} text @param {boolean} isWriting whether more may come */
  show(text, isWriting) {
    mayGoOn = isWriting;
    const blocks = reader.lexer(withoutControls(text));
    const links = JSON.stringify(blocks.links);
    const shown = blocks.filter((block) => block.type !== "space" && block.type !== "def");
    this.blocks = shown.map((block, i) => {
      const isLast = isWriting && i === shown.length - 1;
      const key = `${isLast}${links}${block.raw}`;
      return this.blocks[i]?.key === key ? this.blocks[i] : { key, node: this.#make(block, blocks.links, isLast) };
    });
    arrange(this.root, this.blocks.map((block) => block.node));
  }

  #make(block, links, isLast) {
    const html = reader.parser(Object.assign([block], { links }));
    const node = make("div", { className: "block" });
    node.append(sanitize(html));
    for (const table of node.querySelectorAll(".table")) table.tabIndex = 0;
    for (const box of node.querySelectorAll("input")) box.setAttribute("aria-label", "Done");
    for (const link of node.querySelectorAll("a:not([href])")) link.replaceWith(...link.childNodes);
    dressCode(node, isLast);
    setMaths(node);
    return node;
  }
}
