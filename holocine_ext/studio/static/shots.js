// The shots of a board as cards with their captions, and its cast.

import * as board from "./board.js";
import { $, button, fill, keyed, make, show } from "./dom.js";

const STRENGTHS = { 0: "held as it is", 0.4: "anew at strength 0.4", 0.6: "anew at strength 0.6",
  0.8: "anew at strength 0.8", 1: "anew, from noise alone" };
// What a shot may have of its own, and what stands there otherwise.
const OWN = { seed: ["Seed", "as the film", "1"], guidance_scale: ["Guidance", "as the film", "any"] };

/** What the cards do: `change(document, what)` on every edit; `state()` gives {document, lengths, fps, plan}. */
export class Shots {
  constructor(change, state) {
    this.change = change;
    this.state = state;
    $("add-shot").addEventListener("click", () => this.#act(board.addShot, state().lengths.length - 1, 1));
    $("shared").addEventListener("input", ({ target }) =>
      change({ ...state().document, global_caption: target.value }, "shared"));
    $("add-character").addEventListener("click", () => this.#addCharacter());
  }

  draw() {
    const { document, lengths, fps, plan } = this.state();
    const edges = board.edgesOf(lengths);
    fill($("shared"), document.global_caption ?? "");
    $("shared-count").textContent = plan?.text ? tokens(plan.text.shared, plan.text.estimated) : "";
    keyed($("shots"), document.shots.map((_, i) => i), (i) => this.#card(i), (card, i) => {
      const shot = document.shots[i];
      const [first, stop] = [edges[i], edges[i + 1]];
      card.style.setProperty("--shot", i);
      fill(card.field, shot.caption ?? "");
      const seconds = `${(first / fps).toFixed(1)} to ${(stop / fps).toFixed(1)} s`;
      card.when.textContent = `${seconds} · frames ${first} to ${stop - 1}`;
      card.count.textContent = plan?.text ? tokens(plan.text.shots[i], plan.text.estimated) : "";
      const held = board.taken(shot);
      card.acts.split.disabled = held || lengths[i] < 2;
      card.acts.later.disabled = i === lengths.length - 1;
      card.acts.merge.disabled = held || i === lengths.length - 1 || board.taken(document.shots[i + 1]);
      card.hold.hidden = !held;
      card.hold.label.textContent = held ? `As in ${takeName(shot.from)}` : "";
      card.hold.choice.value = String(shot.strength ?? 0);
      const still = held && !shot.strength;
      for (const [name, input] of Object.entries(card.own)) {
        if (input !== window.document.activeElement) fill(input, String(shot[name] ?? ""));
        input.disabled = still;
      }
      card.acts.earlier.disabled = i === 0;
      card.acts.remove.disabled = lengths.length === 1;
    });
    this.#drawCast(document.characters ?? {});
  }

  /** Show what would be refused at its field, and what may disappoint at its shot; true if it has a place here. */
  tell(problem, warnings) {
    const inShot = problem?.shot ? $("shots").children[problem.shot - 1] : null;
    const shared = !inShot && problem && ["global_caption", "captions", "characters"].includes(problem.field);
    show($("shared-problem"), shared ? problem.text : "");
    $("shared").ariaInvalid = String(Boolean(shared));
    [...$("shots").children].forEach((card, i) => {
      const said = warnings.filter((line) => line.startsWith(`shot ${i + 1} `)).join(" · ");
      show(card.problem, card === inShot ? problem.text : said);
      card.problem.classList.toggle("mild", card !== inShot);
      card.field.ariaInvalid = String(card === inShot);
    });
    return Boolean(inShot || shared);
  }

  focus(index) {
    const card = $("shots").children[index];
    card?.field.focus({ preventScroll: true });
    card?.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  #card(index) {
    const at = () => Number(card.dataset.key);
    const acts = {
      split: button("Split", () => this.#act(board.splitShot, at(), 1), { title: "Cut this shot in two" }),
      merge: button("Merge", () => this.#act(board.mergeShots, at(), 0), { title: "Join with the next shot" }),
      earlier: button("↑", () => this.#move(at(), -1), { "aria-label": "Move the shot earlier" }),
      later: button("↓", () => this.#move(at(), 1), { "aria-label": "Move the shot later" }),
      remove: button("Remove", () => this.#act(board.removeShot, at(), -1)),
    };
    const field = make("textarea", {
      rows: "2", id: `shot-${index}`, spellcheck: "true", "aria-label": `Caption of shot ${index + 1}`,
      placeholder: "The framing, who, what happens, the camera",
      oninput: () => this.change(board.withShot(this.state().document, at(), { caption: field.value }), `shot ${at()}`),
    });
    const choice = make("select",
      { "aria-label": `How shot ${index + 1} is made`, onchange: () => this.#hold(at(), choice) },
      ...Object.entries(STRENGTHS).map(([value, label]) => make("option", { value }, label)));
    const label = make("span", { class: "quiet" });
    const hold = Object.assign(make("div", { class: "hold", hidden: true }, label, choice), { label, choice });
    const own = Object.fromEntries(Object.keys(OWN).map((name) => [name, this.#own(name, index, at)]));
    const owns = make("div", { class: "own" },
      ...Object.entries(own).map(([name, input]) => make("label", { class: "quiet" }, OWN[name][0], input)));
    const when = make("span", { class: "quiet" });
    const count = make("span", { class: "count", title: "This shot reads the shared caption and its own, no other" });
    const problem = make("p", { class: "problem", hidden: true });
    const head = make("div", { class: "card-head" }, make("b", {}, String(index + 1)), when, count,
      make("span", { class: "space" }), ...Object.values(acts));
    const card = make("li", { class: "card" }, head, hold, field, owns, problem);
    return Object.assign(card, { field, when, count, problem, acts, hold, own });
  }

  /** The field of a setting that one shot may have of its own. */
  #own(name, index, at) {
    const [label, placeholder, step] = OWN[name];
    const input = make("input", {
      type: "number", step, placeholder, inputmode: "decimal", "aria-label": `${label} of shot ${index + 1}`,
      onchange: () => this.change(
        board.withShot(this.state().document, at(), { [name]: input.value === "" ? undefined : Number(input.value) }),
        ""),
    });
    return input;
  }

  #act(act, index, focus) {
    const { document, lengths } = this.state();
    this.change(act(document, lengths, index), "");
    this.focus(Math.max(0, index + focus));
  }

  #hold(index, choice) {
    const { document, lengths } = this.state();
    this.change(board.holdShot(document, lengths, index, Number(choice.value)), "");
  }

  #move(from, by) {
    const { document, lengths } = this.state();
    this.change(board.moveShot(document, lengths, from, from + by), "");
    this.focus(from + by);
  }

  #drawCast(characters) {
    const names = Object.keys(characters);
    $("cast-count").textContent = names.length ? `${names.length}` : "";
    if (names.length) $("cast").open = true;
    keyed($("cast-rows"), names.map((_, i) => i), (i) => this.#character(i), (row, i) => {
      fill(row.children[0], names[i]);
      fill(row.children[1], characters[names[i]]);
    });
  }

  #character(index) {
    const set = (entries) => {
      const { document } = this.state();
      const { characters: _, ...rest } = document;
      this.change(entries.length ? { ...document, characters: Object.fromEntries(entries) } : rest, `cast ${index}`);
    };
    const entries = () => Object.entries(this.state().document.characters ?? {});
    const edit = () => set(entries().map((old, i) => (i === index ? [name.value, text.value] : old)));
    const name = make("input", { "aria-label": "Name", placeholder: "name", oninput: edit });
    const text = make("input", { "aria-label": "Description", placeholder: "who this is, in a clause", oninput: edit });
    const remove = button("Remove", () => set(entries().filter((_, i) => i !== index)));
    return make("div", { class: "character" }, name, text, remove);
  }

  #addCharacter() {
    const { document } = this.state();
    const characters = document.characters ?? {};
    let number = Object.keys(characters).length + 1;
    while (`character${number}` in characters) number += 1;
    this.change({ ...document, characters: { ...characters, [`character${number}`]: "" } }, "");
    $("cast-rows").lastElementChild?.children[1].focus();
  }
}

/** "takes/scene-001.mp4#2" as people say it. */
const takeName = (from) => from.replace(/^.*\//, "").replace(/\.mp4#(\d+)$/, ", shot $1");
const tokens = (count, estimated) => (count === undefined ? "" : `${estimated ? "about " : ""}${count} tokens`);
