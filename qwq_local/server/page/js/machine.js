// What the model runs on: devices, the plan, and how fast it is at the moment. Asked for only while it is shown.

import * as api from "./api.js";
import { byId, make } from "./dom.js";
import { bytes, count, speed } from "./format.js";

const EVERY_MS = 2000;

export class MachinePanel {
  constructor() {
    this.panel = byId("machine");
    this.body = byId("machine-body");
    this.button = byId("open-machine");
    byId("close-machine").addEventListener("click", () => this.close());
    this.panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.close();
    });
  }

  toggle() {
    if (this.panel.hidden) this.open();
    else this.close();
  }

  open() {
    this.panel.hidden = false;
    this.button.setAttribute("aria-expanded", "true");
    this.#look();
    this.looking = setInterval(() => this.#look(), EVERY_MS);
    byId("close-machine").focus();
  }

  close() {
    clearInterval(this.looking);
    this.panel.hidden = true;
    this.button.setAttribute("aria-expanded", "false");
    this.button.focus();
  }

  async #look() {
    if (document.hidden) return;
    try {
      this.body.replaceChildren(...show(await api.machine()));
    } catch (error) {
      this.body.replaceChildren(make("p", { className: "none" }, error.message));
    }
  }
}

const facts = (rows) =>
  make("dl", {}, ...rows.filter(([, value]) => value !== null && value !== "").flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))]));

/** A bar for a share of something, told in words beside it. */
function bar(name, parts, all, told) {
  const track = make("div", { className: "track" });
  for (const [kind, amount] of parts) {
    const part = make("div", { className: `part ${kind}` });
    part.style.width = `${all ? Math.min(100, (100 * amount) / all) : 0}%`;
    track.append(part);
  }
  return make("div", { className: "bar-row" }, make("div", {}, make("span", {}, name), make("span", { className: "figures" }, told)), track);
}

function show(machine) {
  const { plan, live, devices = [] } = machine;
  return [
    ...(live ? [make("h3", {}, "Now"), ...showLive(live)] : []),
    ...(plan ? [make("h3", {}, "Model"), ...showPlan(machine, plan)] : []),
    make("h3", {}, "Machine"),
    ...devices.map((device) => free(device.name, device.free_bytes, device.total_bytes)),
    free("RAM", machine.ram_available_bytes, machine.ram_total_bytes),
    make("p", { className: "none" }, `qwq-local ${machine.version}`),
  ];
}

const free = (name, rest, all) => bar(name, [["used", all - rest]], all, `${bytes(rest)} free of ${bytes(all)}`);

function showLive(live) {
  const share = live.all_cells ? ` · ${Math.round((100 * live.used_cells) / live.all_cells)} %` : "";
  return [
    facts([
      ["Writing", live.decode_tokens_per_second ? speed(live.decode_tokens_per_second) : "—"],
      ["Reading", live.prefill_tokens_per_second ? speed(live.prefill_tokens_per_second) : "—"],
      ["Answers", `${live.running} running, ${live.waiting} waiting`],
      ["Scaling", live.rope],
    ]),
    bar("KV cache", [["kv", live.used_cells]], live.all_cells, `${count(live.used_cells)} of ${count(live.all_cells)} cells${share}`),
  ];
}

function showPlan(machine, plan) {
  const most = Math.max(...plan.memory.map((one) => one.total_bytes), 1);
  return [
    facts([
      ["Name", machine.model],
      ["Quantization", machine.quantization],
      ["Layers on GPU", `${plan.gpu_layers} of ${plan.all_layers}`],
      ["Context", `${count(plan.n_ctx)} tokens`],
      ["KV cache", plan.kv_type],
      ["Predicted", plan.tokens_per_second ? speed(plan.tokens_per_second) : ""],
    ]),
    ...plan.memory.map((one) =>
      bar(one.device, [["weights", one.weights_bytes], ["kv", one.kv_bytes], ["compute", one.compute_bytes]], most, bytes(one.total_bytes)),
    ),
    make("p", { className: "legend" }, ...["weights", "kv", "compute"].flatMap((kind) => [make("span", { className: `swatch part ${kind}` }), `${{ weights: "Weights", kv: "KV cache", compute: "Computing" }[kind]} `])),
  ];
}
