// <shot-timeline>: shots as blocks, cuts as sliders. Tells of moved cuts; decides nothing.
//
// Pointer, touch and keyboard do the same: the neighbour gives way, or, with Shift or `grows`, the scene grows.

import { edgesOf, frameAt, moveEnd, sum } from "./board.js";

const RULER_PX = 64;
const LABEL_PX = 34;
const STEPS = [0.5, 1, 2, 5, 10, 20, 30, 60];
const BIG_STEP = 4;

export class ShotTimeline extends HTMLElement {
  grows = false;
  #lengths = [];
  #fps = 15;
  #captions = [];
  #held = [];
  #drag = null;

  connectedCallback() {
    this.setAttribute("role", "group");
    this.setAttribute("aria-label", "Timeline of shots");
    this.track = this.appendChild(element("div", "track"));
    this.ruler = this.appendChild(element("div", "ruler"));
    this.ruler.ariaHidden = "true";
    this.addEventListener("pointerdown", (event) => this.#begin(event));
    this.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) this.addEventListener(end, () => this.#end());
    this.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#drawRuler()).observe(this);
  }

  /** Show shots of these lengths in latent frames; held ones keep theirs. */
  show(lengths, captions, fps, held) {
    this.#held = held;
    this.#lengths = lengths;
    this.#captions = captions;
    this.#fps = fps;
    this.#draw();
  }

  #draw() {
    const { track } = this;
    while (track.children.length > 2 * this.#lengths.length) track.lastChild.remove();
    while (track.children.length < 2 * this.#lengths.length) {
      track.append(this.#block(), this.#handle(track.children.length / 2));
    }
    const edges = edgesOf(this.#lengths);
    this.#lengths.forEach((length, i) => {
      const [block, handle] = [track.children[2 * i], track.children[2 * i + 1]];
      block.style.flexGrow = length;
      block.style.setProperty("--shot", i);
      block.classList.toggle("held", Boolean(this.#held[i]));
      block.firstChild.textContent = i + 1;
      block.children[1].textContent = `${this.#seconds(edges[i + 1] - edges[i])} s`;
      block.children[2].textContent = this.#captions[i] ?? "";
      this.#describe(handle, i, edges);
    });
    this.#drawRuler();
  }

  #block() {
    const block = element("button", "block");
    block.type = "button";
    block.append(element("b"), element("span", "seconds"), element("span", "caption"));
    block.addEventListener("click", () => {
      const shot = [...this.track.children].indexOf(block) / 2;
      this.dispatchEvent(new CustomEvent("pick", { detail: shot }));
    });
    return block;
  }

  #handle(shot) {
    const handle = element("div", "handle");
    handle.setAttribute("role", "slider");
    handle.setAttribute("aria-orientation", "horizontal");
    handle.tabIndex = 0;
    handle.dataset.shot = shot;
    return handle;
  }

  #describe(handle, shot, edges) {
    const last = shot === this.#lengths.length - 1;
    const low = frameAt(latentsBefore(this.#lengths, shot) + 1);
    const high = last || this.grows ? edges[shot + 1] + 400 : edges[shot + 2] - 4;
    const where = `frame ${edges[shot + 1]}, ${this.#seconds(edges[shot + 1])} s`;
    handle.ariaLabel = last ? "End of the scene" : `Cut between shots ${shot + 1} and ${shot + 2}`;
    handle.ariaValueMin = low;
    handle.ariaValueMax = high;
    handle.ariaValueNow = edges[shot + 1];
    handle.ariaValueText = where;
    handle.title = `${handle.ariaLabel}: ${where}. Drag or arrow keys; with Shift the scene grows`;
    handle.classList.toggle("last", last);
    handle.ariaDisabled = String(Boolean(this.#held[shot]));
  }

  #drawRuler() {
    const seconds = edgesOf(this.#lengths).at(-1) / this.#fps;
    const px = this.clientWidth / seconds;
    const step = STEPS.find((one) => one * px >= RULER_PX) ?? STEPS.at(-1);
    const marks = [];
    for (let at = 0; (seconds - at) * px > LABEL_PX && Number.isFinite(px); at += step) {
      const mark = element("span");
      mark.textContent = `${at} s`;
      mark.style.left = `${(100 * at) / seconds}%`;
      marks.push(mark);
    }
    this.ruler?.replaceChildren(...marks);
  }

  #begin(event) {
    const handle = event.target.closest(".handle");
    if (!handle || event.button) return;
    event.preventDefault();
    handle.focus();
    handle.setPointerCapture(event.pointerId);
    const px = this.track.clientWidth / sum(this.#lengths);
    this.#drag = { shot: Number(handle.dataset.shot), x: event.clientX, px, from: this.#lengths };
    this.classList.add("dragging");
  }

  #move(event) {
    if (!this.#drag) return;
    const { shot, x, px, from } = this.#drag;
    this.#to(moveEnd(from, shot, Math.round((event.clientX - x) / px), event.shiftKey || this.grows, this.#held), shot);
  }

  #end() {
    this.#drag = null;
    this.classList.remove("dragging");
  }

  #key(event) {
    const handle = event.target.closest(".handle");
    const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: BIG_STEP, PageDown: -BIG_STEP,
      Home: -1e6, End: 1e6 }[event.key];
    if (!handle || by === undefined || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const shot = Number(handle.dataset.shot);
    const grows = event.shiftKey || this.grows;
    if (by === 1e6 && (grows || shot === this.#lengths.length - 1)) return;
    this.#to(moveEnd(this.#lengths, shot, by, grows, this.#held), shot);
  }

  #to(lengths, shot) {
    if (lengths.every((length, i) => length === this.#lengths[i])) return;
    this.#lengths = lengths;
    this.#draw();
    this.dispatchEvent(new CustomEvent("cuts", { detail: { lengths, shot } }));
  }

  #seconds(frames) { return (frames / this.#fps).toFixed(1); }
}

const latentsBefore = (lengths, shot) => sum(lengths.slice(0, shot));

function element(tag, name = "") {
  const made = document.createElement(tag);
  if (name) made.className = name;
  return made;
}

customElements.define("shot-timeline", ShotTimeline);
