// Puts the parts of the page together.

import * as api from "./api.js";
import { edgesOf, lengthsOf, taken, withLengths } from "./board.js";
import { askAbout } from "./conflict.js";
import { $, make, show } from "./dom.js";
import { PlanPanel } from "./plan.js";
import { QueuePanel } from "./queue.js";
import { Shots } from "./shots.js";
import { Store } from "./store.js";
import { Gallery } from "./takes.js";
import "./timeline.js";

const PLAN_MS = 120;
const MESSAGE_MS = 6000;
const store = new Store();
let settings = {};
let models = {};
let plan = null;
let versions = {};

const defaults = () => models[settings.model ?? "nano"].defaults;
const lengths = () => lengthsOf(store.document, plan?.shots, defaults().num_frames);
const fps = () => store.document.fps ?? defaults().fps;
const state = () => ({ document: store.document, lengths: lengths(), fps: fps(), plan: plan?.text ? plan : null });
const shots = new Shots((document, what) => store.change(document, what), state);
const queue = new QueuePanel(tell);
const gallery = new Gallery(tell, openBoard, () => store.name);
let panel;

function tell(text) {
  show($("message"), text);
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => show($("message"), ""), MESSAGE_MS);
}

function draw() {
  const now = lengths();
  const { shots: all } = store.document;
  $("timeline").show(now, all.map((shot) => shot.caption), fps(), all.map(taken));
  const frames = edgesOf(now).at(-1);
  $("length").textContent = `${(frames / fps()).toFixed(1)} s, ${frames} frames, ${now.length} shots`;
  $("undo").disabled = !store.canUndo;
  $("redo").disabled = !store.canRedo;
  shots.draw();
  panel.drawSettings(settings, store.document);
}

function drawBoards() {
  const names = Object.keys(versions);
  $("boards").replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  $("boards").value = store.name;
}

// One plan at a time is asked for; the last change is always planned.
const planner = { busy: false, again: false, timer: 0 };

function replan(wait = PLAN_MS) {
  clearTimeout(planner.timer);
  planner.timer = setTimeout(askPlan, wait);
}

async function askPlan() {
  if (planner.busy) {
    planner.again = true;
    return;
  }
  planner.busy = true;
  try {
    const answer = await api.plan(store.name, store.document, settings);
    plan = answer.problem ? { shots: plan?.shots, problem: answer.problem } : answer;
    drawPlan(answer);
  } catch (error) {
    tell(error.message);
  }
  planner.busy = false;
  if (planner.again) {
    planner.again = false;
    askPlan();
  }
}

function drawPlan(answer) {
  const atSetting = panel.draw(answer);
  const atShot = shots.tell(answer.problem, answer.warnings ?? []);
  const time = ["shots", "num_frames", "shot_cut_frames", "cuts", "lengths"].includes(answer.problem?.field);
  const inTime = !atShot && time;
  show($("time-problem"), inTime ? answer.problem.text : "");
  show($("plan-problem"), answer.problem && !atSetting && !atShot && !inTime ? answer.problem.text : "");
  $("render").disabled = Boolean(answer.problem);
  if (!answer.problem) draw();
}

/** Open a board, and run it with these settings, if any are given. */
async function openBoard(name, wanted = {}) {
  for (const [setting, value] of Object.entries(wanted)) {
    if (settings[setting] !== value) keep(setting, value);
  }
  await store.open(name.endsWith(".json") ? name : await copyOf(name));
}

async function copyOf(name) {
  const { document } = await api.openBoard(name);
  return newBoard(name.replace(/\.\w+$/, ""), document);
}

async function newBoard(stem, document) {
  const file = new File([JSON.stringify(document)], `${stem}.json`);
  const { name } = await api.takeIn(file);
  return name;
}

async function imported(file) {
  try {
    await openBoard((await api.takeIn(file)).name);
  } catch (error) {
    tell(error.message);
  }
}

async function render() {
  await store.flush();
  const count = Number($("count").value);
  try {
    await api.render(store.name, store.document, settings, count);
  } catch (error) {
    tell(error.message);
  }
}

function keep(name, value) {
  const another = name === "model" && value !== (settings.model ?? "nano");
  settings = { ...settings, [name]: value };
  if (another) settings = { ...settings, variant: undefined, preset: undefined, infer_steps: undefined };
  settings = Object.fromEntries(Object.entries(settings).filter(([, one]) => one !== undefined));
  api.keepSettings(settings).catch((error) => tell(error.message));
  draw();
  replan(0);
}

function changeBoard(name, value) {
  const document = { ...store.document };
  if (name === "width" || name === "height") {
    const [height, width] = document.size ?? [defaults().height, defaults().width];
    document.size = name === "width" ? [height, value ?? width] : [value ?? height, width];
  } else if (value === undefined) delete document[name];
  else document[name] = value;
  store.change(document, "");
}

async function settleConflict() {
  const mine = store.document;
  const choice = await askAbout(mine, store.conflict, store.name);
  const name = choice === "both" ? await newBoard(`${store.name.replace(/\.json$/, "")} mine`, mine) : "";
  store.settle(choice === "mine" ? "mine" : "theirs");
  if (name) await openBoard(name);
}

function listenToStore() {
  const saved = (text) => () => { $("saved").textContent = text; };
  for (const what of ["opened", "changed", "stepped", "reloaded"]) {
    store.addEventListener(what, () => {
      if (what === "opened") plan = null;
      draw();
      replan(what === "changed" ? PLAN_MS : 0);
    });
  }
  store.addEventListener("opened", () => {
    drawBoards();
    gallery.draw();
    document.title = `${store.name.replace(/\.json$/, "")} · ${$("film").textContent}`;
    history.replaceState(null, "", `#${encodeURIComponent(store.name)}`);
    saved("Saved")();
  });
  store.addEventListener("saving", saved("Saving…"));
  store.addEventListener("saved", saved("Saved"));
  store.addEventListener("unsaved", ({ detail }) => { saved("Not saved")(); tell(detail); });
  store.addEventListener("reloaded", () => {
    saved("Saved")();
    tell("The board was changed elsewhere; this is how it is now.");
  });
  store.addEventListener("conflict", () => { saved("Changed elsewhere")(); settleConflict(); });
}

function listenToPage() {
  $("boards").addEventListener("change", ({ target }) => openBoard(target.value).catch((error) => tell(error.message)));
  $("new-board").addEventListener("click", async () => openBoard(await newBoard("scene",
    { ...defaultBoard(), shots: [{ caption: "" }] })));
  $("import").addEventListener("change", ({ target }) => {
    if (target.files[0]) imported(target.files[0]);
    target.value = "";
  });
  $("export").addEventListener("click", async (event) => {
    event.preventDefault();
    await store.flush();
    const url = URL.createObjectURL(new Blob([JSON.stringify(store.document, null, 2)], { type: "application/json" }));
    make("a", { href: url, download: store.name }).click();
    URL.revokeObjectURL(url);
  });
  addEventListener("pagehide", () => store.flush());
  $("undo").addEventListener("click", () => store.undo());
  $("redo").addEventListener("click", () => store.redo());
  $("render").addEventListener("click", render);
  $("ripple").addEventListener("click", ({ target }) => {
    $("timeline").grows = !$("timeline").grows;
    target.ariaPressed = String($("timeline").grows);
    draw();
  });
  $("timeline").addEventListener("cuts", ({ detail }) => {
    store.change(withLengths(store.document, detail.lengths), `cut ${detail.shot}`);
    replan(0);
  });
  $("timeline").addEventListener("pick", ({ detail }) => shots.focus(detail));
  addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || $("conflict").open) return;
    const key = event.key.toLowerCase();
    if (key !== "z" && key !== "y") return;
    event.preventDefault();
    key === "y" || event.shiftKey ? store.redo() : store.undo();
  });
  listenToDrops();
  listenToDraft();
}

function listenToDraft() {
  $("draft-open").addEventListener("click", () => $("draft").showModal());
  $("draft-close").addEventListener("click", () => $("draft").close());
  $("draft-write").addEventListener("click", async ({ target }) => {
    target.disabled = true;
    show($("draft-problem"), "");
    try {
      await openBoard((await api.draft($("brief").value, Number($("draft-shots").value))).name);
      $("draft").close();
    } catch (error) {
      show($("draft-problem"), error.message);
    }
    target.disabled = false;
  });
}

const defaultBoard = () => ({ global_caption: "", num_frames: defaults().num_frames, fps: defaults().fps });

function listenToDrops() {
  addEventListener("dragover", (event) => { event.preventDefault(); $("drop").hidden = false; });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").hidden = true; });
  addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop").hidden = true;
    if (event.dataTransfer.files[0]) imported(event.dataTransfer.files[0]);
  });
}

async function begin() {
  const film = await api.film();
  ({ settings, models, boards: versions } = film);
  $("film").textContent = film.name;
  $("draft-open").hidden = !film.writer;
  $("writer").textContent = film.writer;
  panel = new PlanPanel(models, keep, changeBoard);
  listenToStore();
  listenToPage();
  const wanted = decodeURIComponent(location.hash.slice(1));
  const names = Object.keys(versions);
  await openBoard(names.includes(wanted) ? wanted : names.find((name) => name.endsWith(".json")) ?? names[0]);
  api.listen({
    boards: (found) => {
      versions = found;
      drawBoards();
      store.heard(found[store.name] ?? null);
    },
    queue: (found) => queue.draw(found),
    takes: () => {
      gallery.load().catch((error) => tell(error.message));
      replan(0); // a take tells how fast this machine is
    },
  }, (alive) => { if (!alive) $("saved").textContent = "The server is not there"; });
}

begin().catch((error) => tell(error.message));
