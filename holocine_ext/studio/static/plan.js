// The plan beside the board: settings, what they cost, what would be refused.

import { $, bytes, duration, keyed, make, show } from "./dom.js";

const FIELDS = {
  model: "Model", variant: "Attention", preset: "Recipe", infer_steps: "Steps",
  guidance_scale: "Guidance", vram_budget: "Memory budget, GB",
};
const OF_BOARD = { seed: "Seed", fps: "Frames a second", width: "Width", height: "Height" };
const NUMBERS = {
  infer_steps: 1, guidance_scale: "any", vram_budget: "any", seed: 1, fps: "any", width: 16, height: 16,
};

export class PlanPanel {
  constructor(models, keep, changeBoard) {
    this.models = models;
    this.keep = keep;
    this.changeBoard = changeBoard;
    this.fields = {};
    for (const [name, label] of Object.entries({ ...FIELDS, ...OF_BOARD })) {
      $("settings").append(this.#field(name, label));
    }
    $("settings").addEventListener("submit", (event) => event.preventDefault());
  }

  #field(name, label) {
    const id = `setting-${name}`;
    const field = name in NUMBERS
      ? make("input", { id, type: "number", step: String(NUMBERS[name]), inputmode: "decimal" })
      : make("select", { id });
    field.addEventListener("change", () => this.#changed(name));
    this.fields[name] = field;
    const problem = make("span", { class: "problem", hidden: true });
    return make("div", { class: "setting" }, make("label", { for: id }, label), field, problem);
  }

  #changed(name) {
    const field = this.fields[name];
    const value = field.value === "" ? undefined : name in NUMBERS ? Number(field.value) : field.value;
    if (!(name in OF_BOARD)) return this.keep(name, value);
    this.changeBoard(name, value);
  }

  /** Show the settings; what is not set shows what the model is run with. */
  drawSettings(settings, document) {
    const model = settings.model ?? "nano";
    const { variants, recipes, defaults } = this.models[model];
    options(this.fields.model, Object.keys(this.models), model);
    options(this.fields.variant, variants, settings.variant ?? variants[0]);
    options(this.fields.preset, recipes, settings.preset ?? recipes[0]);
    const [height, width] = document.size ?? [];
    const values = { ...settings, seed: document.seed, fps: document.fps, height, width };
    for (const name of Object.keys(NUMBERS)) {
      const field = this.fields[name];
      if (field !== window.document.activeElement) field.value = values[name] ?? "";
      field.placeholder = { seed: "drawn", vram_budget: "no limit" }[name] ?? defaults[name] ?? "";
    }
  }

  /** Show a plan; true if what would be refused stands at one of the settings. */
  draw(plan) {
    const problem = plan.problem;
    const here = problem && !problem.shot && this.fields[problem.field];
    for (const [name, field] of Object.entries(this.fields)) {
      field.ariaInvalid = String(field === here);
      show(field.nextElementSibling, field === here ? problem.text : "");
      field.dataset.name = name;
    }
    if (problem) return Boolean(here);
    const seconds = plan.num_frames / plan.fps;
    const rows = {
      Film: `${seconds.toFixed(1)} s, ${plan.num_frames} frames, ${plan.width} × ${plan.height}`,
      Text: `${plan.text.estimated ? "about " : ""}${plan.text.tokens} of ${plan.text.most} tokens`,
      Memory: `${bytes(plan.memory.peak)} of the device, predicted`,
      Time: plan.seconds === null ? "known after the first take" : `${duration(plan.seconds)} of denoising, predicted`,
    };
    $("plan").replaceChildren(...Object.entries(rows).flatMap(([name, value]) =>
      [make("dt", {}, name), make("dd", {}, value)]));
    $("words").textContent = plan.words;
    const general = plan.warnings.filter((line) => !/^shot \d+ /.test(line));
    keyed($("warnings"), general, (line) => make("li", {}, line), () => {});
    return false;
  }
}

function options(select, values, chosen) {
  if ([...select.options].map((option) => option.value).join() !== values.join()) {
    select.replaceChildren(...values.map((value) => make("option", { value }, value)));
  }
  select.value = chosen;
}
