// Plays one take, or two beside each other in step, with their cuts drawn.

import * as api from "./api.js";
import { $, button, make } from "./dom.js";

const IN_STEP_SECONDS = 0.04;
const NEXT_FRAME = 0.25; // a browser shows a frame a little before its time

/** Open the player with one or two takes. */
export function play(takes) {
  const dialog = $("player");
  const films = takes.map((take) => make("video", {
    src: api.fileOfTake(`${take.name}.mp4`), playsInline: true, muted: true, loop: true, preload: "auto",
    "aria-label": take.name,
  }));
  const [first] = films;
  const fps = takes[0].fps;
  const length = Math.max(...takes.map((take) => take.shots.at(-1).frames[1] / take.fps));
  const time = make("span", { class: "quiet", role: "status" });
  const seek = make("input", {
    type: "range", min: "0", max: String(length), step: String(1 / fps), value: "0", "aria-label": "Time",
  });
  const toggle = button("Pause", () => (first.paused ? start() : stop()));
  const start = () => films.forEach((film) => film.play().catch(() => {}));
  const stop = () => films.forEach((film) => film.pause());
  const go = (seconds) => films.forEach((film) => {
    film.currentTime = Math.min(Math.max(seconds, 0), length - 0.5 / fps);
  });
  seek.addEventListener("input", () => { stop(); go(Number(seek.value)); });
  const cuts = takes[0].shots.map((shot) => shot.frames[0] / fps);
  const strip = make("div", { class: "strip" }, ...takes[0].shots.map((shot, i) => {
    const part = button(String(i + 1), () => go(cuts[i] + 0.5 / fps), { title: shot.caption, class: "block" });
    part.style.flexGrow = shot.frames[1] - shot.frames[0];
    part.style.setProperty("--shot", i);
    return part;
  }));
  const caption = make("p", { class: "caption" });
  const figures = takes.map((take, i) => make("figure", {}, films[i],
    make("figcaption", { class: "quiet" }, `${take.name}, seed ${take.seed}`)));
  dialog.replaceChildren(
    make("div", { class: "films" }, ...figures), strip, seek,
    make("div", { class: "row" }, toggle, time, make("span", { class: "space" }),
      button("Close", () => dialog.close(), { class: "main" })),
    caption);
  dialog.onkeydown = (event) => {
    const step = { ArrowLeft: -1 / fps, ArrowRight: 1 / fps }[event.key];
    const cut = { ArrowUp: (at) => cuts.findLast((one) => one < at - 1 / fps) ?? 0,
      ArrowDown: (at) => cuts.find((one) => one > at) ?? 0 }[event.key];
    if (event.key === " " && event.target.tagName !== "BUTTON") first.paused ? start() : stop();
    else if (step) { stop(); go(first.currentTime + step); }
    else if (cut) go(cut(first.currentTime) + 0.5 / fps);
    else return;
    event.preventDefault();
  };
  let frame = 0;
  const follow = () => {
    const at = first.currentTime;
    for (const film of films.slice(1)) {
      if (Math.abs(film.currentTime - at) > IN_STEP_SECONDS && !film.seeking) film.currentTime = at;
      if (film.paused !== first.paused) first.paused ? film.pause() : film.play().catch(() => {});
    }
    if (document.activeElement !== seek || !first.paused) seek.value = at;
    toggle.textContent = first.paused ? "Play" : "Pause";
    const shown = Math.floor(at * fps + NEXT_FRAME);
    const shot = Math.max(0, takes[0].shots.findLastIndex(({ frames: [begin] }) => begin <= shown));
    time.textContent = `${at.toFixed(2)} s · frame ${shown} · shot ${shot + 1}`;
    caption.textContent = takes[0].shots[shot].caption;
    [...strip.children].forEach((part, i) => part.classList.toggle("now", i === shot));
    frame = requestAnimationFrame(follow);
  };
  dialog.onclose = () => {
    cancelAnimationFrame(frame);
    dialog.replaceChildren();
  };
  dialog.showModal();
  follow();
  start();
}
