// Light, dark, or as the system has it.

import { byId, icon } from "./dom.js";

const NEXT = { auto: "light", light: "dark", dark: "auto" };
const NAMES = { auto: "as the system", light: "light", dark: "dark" };
const ICONS = { auto: "auto", light: "sun", dark: "moon" };

export function wireTheme() {
  const button = byId("theme");
  const show = (theme) => {
    document.documentElement.dataset.theme = theme;
    button.replaceChildren(icon(ICONS[theme]));
    button.setAttribute("aria-label", `Colours: ${NAMES[theme]}. Change`);
    button.title = `Colours: ${NAMES[theme]}`;
  };
  show(document.documentElement.dataset.theme in NEXT ? document.documentElement.dataset.theme : "auto");
  button.addEventListener("click", () => {
    show(NEXT[document.documentElement.dataset.theme]);
    localStorage.setItem("qwq.theme", document.documentElement.dataset.theme);
  });
}
