// Banners, and how the server is.

import * as api from "./api.js";
import { byId, iconButton, make } from "./dom.js";

const LOADING_MS = 500;
const READY_MS = 10_000;
const GONE_MS = 2000;

const banners = new Map();

/** Shows a banner under a name, or takes it away where there is nothing to say. @param {string} name @param {string} text */
export function banner(name, text, { canClose = true } = {}) {
  banners.get(name)?.remove();
  banners.delete(name);
  if (!text) return;
  const box = make("div", { className: `banner ${name}`, role: "alert" }, make("span", {}, text));
  if (canClose) box.append(iconButton("close", "Close", () => banner(name, "")));
  banners.set(name, box);
  byId("banners").append(box);
}

const TOLD = {
  ok: (health) => [health.model, "ready"],
  loading: (health) => [`${health.model} · loading ${Math.round(100 * health.loaded_share)} %`, "loading"],
  unloaded: (health) => [`${health.model} · loads with the next question`, "loading"],
  error: (health) => [health.error || "The model cannot be loaded.", "bad"],
  stopping: () => ["The server is stopping", "bad"],
};

const DEMO = "demo";

/** Says how to get QwQ, where only the toy that comes along is here. */
async function tellOfToy(health) {
  const toy = byId("toy");
  if (health.model !== DEMO || !toy.hidden) return;
  const [names, machine] = await Promise.all([api.models(), api.machine()]);
  byId("pull").textContent = machine.pull_command;
  toy.hidden = names.some((name) => name !== DEMO);
}

/** Looks how the server is from time to time; `reached` is told whether it answers. */
export function watchHealth(reached) {
  const line = byId("health");
  let waiting = 0;
  const look = async () => {
    clearTimeout(waiting);
    let wait = READY_MS;
    try {
      const health = await api.health();
      const [text, kind] = TOLD[health.status](health);
      line.replaceChildren(make("span", { className: `dot ${kind}` }), text);
      line.title = text;
      wait = health.status === "loading" ? LOADING_MS : READY_MS;
      reached(true);
      await tellOfToy(health);
    } catch (error) {
      if (!(error instanceof api.GoneError)) throw error;
      line.replaceChildren(make("span", { className: "dot bad" }), "The server does not answer");
      wait = GONE_MS;
      reached(false);
    }
    waiting = setTimeout(look, wait);
  };
  look();
  return look;
}
