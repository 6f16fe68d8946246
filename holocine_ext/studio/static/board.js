// A board as a document, and what can be done to its shots. Pure functions; the document is never changed in place.
//
// A shot owns whole latent frames: the first of a video holds one frame, every later one four. So lengths are counted
// in latent frames, and a cut after n of them lies at frame 4n - 3, on the grid 4t+1.

export const FRAMES = 4;
const TIMES = ["seconds", "frames", "cut_frame"];

export const frameAt = (latents) => (latents === 0 ? 0 : FRAMES * latents - 3);
export const latentsOf = (frames) => Math.max(1, Math.round((frames + 3) / FRAMES));
export const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

/** Where shots begin and the last one ends, in frames. */
export function edgesOf(lengths) {
  const edges = [0];
  let latents = 0;
  for (const length of lengths) edges.push(frameAt((latents += length)));
  return edges;
}

/** The length of every shot in latent frames: as the board says, else as the plan does, else all alike. */
export function lengthsOf(document, planned, otherwise) {
  const shots = document.shots ?? [];
  const cuts = shots.slice(1).map((shot) => shot.cut_frame);
  const total = latentsOf(document.num_frames ?? otherwise);
  const own = ownLengths(shots, planned);
  if (own) return own;
  if (cuts.every(Number.isInteger) && shots.every((shot) => shot.seconds == null && shot.frames == null)) {
    const lengths = differences([0, ...cuts.map(latentsOf), total]);
    if (lengths.every((length) => length > 0)) return lengths;
  }
  if (planned?.length === shots.length) return differences([0, ...planned.map(([, stop]) => latentsOf(stop))]);
  return shots.map((_, i) => Math.max(1, Math.floor((total * (i + 1)) / shots.length)
    - Math.floor((total * i) / shots.length)));
}

/** Beside shots from takes: what the others say themselves, and what the plan found in the takes. */
function ownLengths(shots, planned) {
  if (!shots.some(taken)) return null;
  const known = (shot, i) => (taken(shot) ? planned?.[i] && length(planned[i]) : shot.frames && shot.frames / FRAMES);
  const lengths = shots.map((shot, i) => Math.max(1, Math.ceil(known(shot, i) || 1)));
  return planned?.length === shots.length || shots.every((shot) => !taken(shot)) ? lengths : null;
}

const length = ([first, stop]) => latentsOf(stop) - (first === 0 ? 0 : latentsOf(first));
const differences = (edges) => edges.slice(1).map((edge, i) => edge - edges[i]);

/** Whether a shot comes from a take; its length is then that of the take. */
export const taken = (shot) => typeof shot.from === "string";

/** The board with these lengths: as first frames of its shots, or, beside shots from takes, as their lengths. */
export function withLengths(document, lengths, shots = document.shots) {
  const edges = edgesOf(lengths);
  const edited = shots.some(taken);
  const timed = shots.map((shot, i) => {
    const rest = Object.fromEntries(Object.entries(shot).filter(([name]) => !TIMES.includes(name)));
    if (edited) return taken(shot) ? rest : { ...rest, frames: edges[i + 1] - edges[i] };
    return i === 0 ? rest : { ...rest, cut_frame: edges[i] };
  });
  const { shot_cut_frames: _, num_frames: __, ...rest } = document;
  return edited ? { ...rest, shots: timed } : { ...rest, num_frames: edges.at(-1), shots: timed };
}

/** Lengths after the end of a shot moved: its neighbour gives way, or, if `grows`, the scene does. Held shots stay. */
export function moveEnd(lengths, shot, by, grows, held = []) {
  const moved = [...lengths];
  if (held[shot]) return moved;
  const last = grows || shot === lengths.length - 1 || held[shot + 1];
  const most = last ? Infinity : lengths[shot + 1] - 1;
  const step = Math.min(Math.max(by, 1 - lengths[shot]), most);
  moved[shot] += step;
  if (!last) moved[shot + 1] -= step;
  return moved;
}

/** A shot held as it is in a take (0), made anew from it with some noise (below 1), or made from noise alone (1). */
export function holdShot(document, lengths, index, strength) {
  const { from, strength: _, ...rest } = document.shots[index];
  const shot = strength === 1 ? rest : strength ? { ...rest, from, strength } : { ...rest, from };
  return withLengths(document, lengths, document.shots.with(index, shot));
}

/** The board with other values of a shot; `undefined` takes one away. */
export function withShot(document, index, changes) {
  const kept = Object.entries({ ...document.shots[index], ...changes }).filter(([, value]) => value !== undefined);
  return { ...document, shots: document.shots.with(index, Object.fromEntries(kept)) };
}

export function addShot(document, lengths, after) {
  const length = Math.max(1, Math.round(sum(lengths) / lengths.length));
  const shots = document.shots.toSpliced(after + 1, 0, { caption: "" });
  return withLengths(document, lengths.toSpliced(after + 1, 0, length), shots);
}

export function splitShot(document, lengths, index) {
  const first = Math.ceil(lengths[index] / 2);
  const shots = document.shots.toSpliced(index + 1, 0, { caption: document.shots[index].caption });
  return withLengths(document, lengths.toSpliced(index, 1, first, lengths[index] - first), shots);
}

export function mergeShots(document, lengths, index) {
  const [one, two] = document.shots.slice(index, index + 2);
  const captions = [one.caption, two.caption].map((text) => text?.trim()).filter(Boolean);
  const caption = captions[0] === captions[1] ? captions[0] : captions.join(" ");
  const shots = document.shots.toSpliced(index, 2, { ...one, caption: caption ?? "" });
  return withLengths(document, lengths.toSpliced(index, 2, lengths[index] + lengths[index + 1]), shots);
}

export function removeShot(document, lengths, index) {
  return withLengths(document, lengths.toSpliced(index, 1), document.shots.toSpliced(index, 1));
}

export function moveShot(document, lengths, from, to) {
  const moved = (list) => list.toSpliced(from, 1).toSpliced(to, 0, list[from]);
  return withLengths(document, moved(lengths), moved(document.shots));
}

/** Where two boards differ: [what it is about, one value, the other]. */
export function differencesOf(one, two) {
  const flat = (document) => {
    const found = new Map();
    for (const [name, value] of Object.entries(document ?? {})) {
      if (name === "shots" && Array.isArray(value)) {
        value.forEach((shot, i) => Object.entries(shot).forEach(([field, inner]) =>
          found.set(`shot ${i + 1}, ${field}`, text(inner))));
      } else if (name === "characters" && value && typeof value === "object") {
        Object.entries(value).forEach(([who, inner]) => found.set(`cast, ${who}`, text(inner)));
      } else found.set(name, text(value));
    }
    return found;
  };
  const [a, b] = [flat(one), flat(two)];
  return [...new Set([...a.keys(), ...b.keys()])]
    .filter((name) => a.get(name) !== b.get(name))
    .map((name) => [name, a.get(name) ?? "", b.get(name) ?? ""]);
}

const text = (value) => (typeof value === "string" ? value : JSON.stringify(value));
