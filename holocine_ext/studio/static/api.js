// Talks to the server. Knows nothing of what is shown.

const MOST_KEPT_ALIVE = 60_000; // what a browser still sends for a page that is being closed

export class Refused extends Error {
  constructor(status, answer) {
    super(answer.problem?.text ?? `the server answered ${status}`);
    this.status = status;
    this.changed = answer.changed;
    this.problem = answer.problem;
  }
}

async function ask(method, path, body) {
  const plain = body === undefined || body instanceof Blob;
  const content = plain ? body : JSON.stringify(body);
  const keepalive = method === "PUT" && content.length < MOST_KEPT_ALIVE;
  const response = await fetch(path, { method, body: content, keepalive });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, answer);
  return answer;
}

const named = (name) => encodeURIComponent(name);

export const film = () => ask("GET", "/api/film");
export const openBoard = (name) => ask("GET", `/api/boards/${named(name)}`);
export const saveBoard = (name, document, version) => ask("PUT", `/api/boards/${named(name)}`, { document, version });
export const takeIn = (file) => ask("POST", `/api/boards?name=${named(file.name)}`, file);
export const draft = (brief, shots) => ask("POST", "/api/draft", { brief, shots });
export const keepSettings = (settings) => ask("PUT", "/api/settings", settings);
export const plan = (name, document, settings) => ask("POST", "/api/plan", { name, document, settings });
export const render = (name, document, settings, count) =>
  ask("POST", "/api/queue", { name, document, settings, count });
export const changeJob = (id, act) => ask("POST", `/api/queue/${id}`, { do: act });
export const takes = () => ask("GET", "/api/takes");
export const mark = (name, kept, note) => ask("PUT", `/api/takes/${named(name)}`, { kept, note });
export const boardOfTake = (name, held) => ask("POST", `/api/takes/${named(name)}/board${held ? "?held" : ""}`);
export const timelineOfTake = (name) => `/api/takes/${named(name)}/timeline`;
export const fileOfTake = (name) => `/takes/${named(name)}`;

/** Calls `heard[name](value)` for every event; `alive(bool)` says whether the server is there. */
export function listen(heard, alive) {
  const source = new EventSource("/api/events");
  source.onopen = () => alive(true);
  source.onerror = () => alive(false);
  for (const [name, hear] of Object.entries(heard)) {
    source.addEventListener(name, (event) => hear(JSON.parse(event.data)));
  }
}
