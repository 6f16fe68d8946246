// The gallery of takes: sheets, films, what was kept.

import * as api from "./api.js";
import { $, button, keyed, make } from "./dom.js";
import { play } from "./player.js";

export class Gallery {
  takes = [];
  #chosen = new Set();

  constructor(tell, openBoard, currentBoard) {
    Object.assign(this, { tell, openBoard, currentBoard });
    for (const id of ["only-board", "only-kept"]) $(id).addEventListener("change", () => this.draw());
    $("compare").addEventListener("click", () => play(this.takes.filter((take) => this.#chosen.has(take.name))));
  }

  async load() {
    this.takes = (await api.takes()).takes;
    this.draw();
  }

  draw() {
    const here = this.currentBoard().replace(/\.\w+$/, "");
    const shown = this.takes.filter((take) =>
      (!$("only-board").checked || take.board.replace(/\.\w+$/, "") === here)
      && (!$("only-kept").checked || take.kept));
    const byName = new Map(shown.map((take) => [take.name, take]));
    keyed($("gallery"), [...byName.keys()], (name) => this.#card(name), (card) =>
      this.#fill(card, byName.get(card.dataset.key)));
    $("take-count").textContent = this.takes.length ? `${shown.length} of ${this.takes.length}` : "none yet";
    this.#chosen = new Set([...this.#chosen].filter((name) => byName.has(name)));
    $("compare").disabled = this.#chosen.size !== 2;
  }

  #card(name) {
    const find = () => this.takes.find((take) => take.name === name);
    const sheet = make("img", { loading: "lazy", decoding: "async", alt: "" });
    const parts = {
      sheet, title: make("b", {}, name), about: make("p", { class: "quiet" }),
      change: button("Change shots", () => this.#board(name, true),
        { title: "A new board that holds every shot; make some anew, add others, change the order" }),
      keep: button("Keep", () => this.#keep(find()), { "aria-pressed": "false" }),
    };
    const choose = make("input", { type: "checkbox", onchange: () => this.#choose(name, choose.checked) });
    const film = make("a", { href: `${api.fileOfTake(`${name}.mp4`)}?save`, class: "button" }, "Film");
    const timeline = make("a", { href: api.timelineOfTake(name), download: `${name}.otio`, class: "button",
      title: "OpenTimelineIO, for editing programs" }, "Timeline");
    const card = make("li", { class: "take" },
      button(sheet, () => play([find()]), { class: "sheet", "aria-label": `Play ${name}` }),
      make("div", { class: "card-head" }, parts.title, make("span", { class: "space" }),
        make("label", { class: "quiet" }, choose, " side by side")),
      parts.about,
      make("div", { class: "row" }, parts.keep,
        parts.change, button("Its board", () => this.#board(name, false),
          { title: "Open what this take was made from as a new board" }), film, timeline));
    return Object.assign(card, { parts });
  }

  #fill(card, take) {
    const { parts } = card;
    const sheet = take.sheet ? api.fileOfTake(take.sheet) : "";
    if (sheet && parts.sheet.getAttribute("src") !== sheet) parts.sheet.src = sheet;
    const frames = take.shots.at(-1).frames[1];
    const count = `${take.shots.length} ${take.shots.length === 1 ? "shot" : "shots"}`;
    parts.about.textContent = `seed ${take.seed} · ${count}, ${(frames / take.fps).toFixed(1)} s · ${take.model} ${take.variant}, `
      + `${take.steps} steps · ${take.created.slice(0, 16).replace("T", " ")}`;
    parts.keep.ariaPressed = String(take.kept);
    parts.keep.textContent = take.kept ? "Kept" : "Keep";
    parts.change.hidden = !take.latents;
    card.classList.toggle("kept", take.kept);
  }

  #choose(name, chosen) {
    this.#chosen[chosen ? "add" : "delete"](name);
    $("compare").disabled = this.#chosen.size !== 2;
  }

  #keep(take) {
    api.mark(take.name, !take.kept, take.note).catch((error) => this.tell(error.message));
  }

  async #board(name, held) {
    try {
      const { model, variant } = this.takes.find((take) => take.name === name);
      const board = await api.boardOfTake(name, held);
      await this.openBoard(board.name, { model, variant });
    } catch (error) {
      this.tell(error.message);
    }
  }
}
