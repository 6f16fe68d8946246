// The queue: what is made, how far it is, what waits.

import * as api from "./api.js";
import { $, button, bytes, duration, keyed, make, show } from "./dom.js";

const STAGES = {
  load_libraries: "Loading", encode_text: "Reading the text", prepare_previews: "Preparing previews",
  quantise: "Writing fp8 weights", denoise: "Denoising", decode: "Decoding",
};
const HELD = { hold: "paused", cancel: "cancelled" };
const WORDS = { waiting: "waits", stopped: "stopped", done: "done", failed: "failed" };

export class QueuePanel {
  constructor(tell) {
    this.act = (id, what) => api.changeJob(id, what).catch((error) => tell(error.message));
  }

  draw(queue) {
    show($("queue-problem"), queue.trouble && `The worker ended: ${queue.trouble}`);
    const jobs = [...queue.jobs].sort((one, two) => (one.state === "done") - (two.state === "done"));
    keyed($("queue"), jobs.map((job) => job.id), (id) => this.#row(id), (row, i) => this.#fill(row, jobs[i]));
  }

  #row(id) {
    const act = (label, what, name) => button(label, () => this.act(id, what), { "aria-label": name, title: name });
    const acts = {
      up: act("↑", "up", "Make it earlier"), down: act("↓", "down", "Make it later"),
      hold: act("Pause", "hold"), run: act("Go on", "run"), retry: act("Try again", "run"),
      cancel: act("Cancel", "cancel"), remove: act("Remove", "remove"),
    };
    const parts = {
      title: make("b"), state: make("span", { class: "quiet" }), bar: make("progress", { "aria-label": "Progress" }),
      facts: make("p", { class: "quiet facts" }), problem: make("p", { class: "problem", hidden: true }),
      preview: make("img", { alt: "Unfinished latents, one row a shot", hidden: true, class: "preview" }),
    };
    parts.preview.addEventListener("error", () => { parts.preview.hidden = true; });
    const head = make("div", { class: "card-head" }, parts.title, parts.state, make("span", { class: "space" }));
    const row = make("li", {}, head, parts.bar, parts.facts, parts.preview, parts.problem,
      make("div", { class: "row" }, ...Object.values(acts)));
    return Object.assign(row, { acts, parts });
  }

  #fill(row, job) {
    const { acts, parts } = row;
    const running = job.state === "running";
    const held = job.wanted !== "run";
    parts.title.textContent = job.take;
    const stage = `${STAGES[job.stage] ?? ""}${job.total > 1 ? ` ${job.done} of ${job.total}` : ""}`;
    const rests = held ? HELD[job.wanted] : WORDS[job.state];
    parts.state.textContent = running ? stage : rests;
    row.className = `job ${job.state}`;
    parts.bar.hidden = !running;
    if (job.total > 1) Object.assign(parts.bar, { max: job.total, value: job.done });
    else parts.bar.removeAttribute("value");
    parts.facts.textContent = running ? facts(job) : `seed ${job.seed}`;
    const preview = running && job.previews > 0 ? `${api.fileOfTake(`${job.take}_preview.png`)}?v=${job.previews}` : "";
    if (!preview) parts.preview.hidden = true;
    else if (parts.preview.getAttribute("src") !== preview) {
      parts.preview.src = preview;
      parts.preview.hidden = false;
    }
    show(parts.problem, job.state === "failed" ? job.text : job.notes.join(" · "));
    parts.problem.classList.toggle("mild", job.state !== "failed");
    const ended = ["done", "failed", "stopped"].includes(job.state) || (held && !running);
    const waits = job.state === "waiting" && !held;
    acts.up.hidden = acts.down.hidden = !waits;
    acts.hold.hidden = ended || held;
    acts.run.hidden = !(held && !running);
    acts.retry.hidden = job.state !== "failed" || held;
    acts.cancel.hidden = ended || job.wanted === "cancel";
    acts.remove.hidden = running;
  }
}

function facts(job) {
  const left = job.stage === "denoise" && job.step_seconds ? (job.total - job.done) * job.step_seconds : 0;
  return [
    `seed ${job.seed}`, job.expert && `${job.expert} expert`,
    job.stage === "denoise" && job.step_seconds && `${job.step_seconds.toFixed(2)} s a step`,
    left && `${duration(left)} left`, job.memory && `${bytes(job.memory)} at most`,
  ].filter(Boolean).join(" · ");
}
