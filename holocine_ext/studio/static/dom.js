// Small helpers that make elements. Texts are set as text, never as markup.

export const $ = (id) => document.getElementById(id);

/** make("button", {type: "button", class: "x", onclick}, ...children) */
export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const button = (label, onclick, more = {}) => make("button", { type: "button", onclick, ...more }, label);

/** Children of `parent` by key: those that stay are kept, so that focus and playing films stay. */
export function keyed(parent, keys, create, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const [i, key] of keys.entries()) {
    let child = old.get(String(key));
    if (!child) {
      child = create(key, i);
      child.dataset.key = key;
    }
    old.delete(String(key));
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    update(child, i);
  }
  for (const child of old.values()) child.remove();
}

export function show(element, text) {
  element.textContent = text ?? "";
  element.hidden = !text;
}

/** Set the text of a field without moving the cursor of who writes in it. */
export function fill(field, value) {
  if (field.value !== value) field.value = value;
}

export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

export const bytes = (count) =>
  (count >= 1e9 ? `${(count / 1e9).toFixed(1)} GB` : `${Math.max(1, Math.round(count / 1e6))} MB`);
