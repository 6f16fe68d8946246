// One board: its document, its history, and its file, which follows every change. Knows nothing of what is shown.

import * as api from "./api.js";

const SAVE_MS = 250;
const TYPING_MS = 1200;
const MOST_STEPS = 500;

export class Store extends EventTarget {
  name = "";
  document = { global_caption: "", shots: [] };
  version = "";
  conflict = null;
  #past = [];
  #future = [];
  #last = { what: "", when: 0 };
  #written = null; // what the file holds, as text
  #timer = 0;
  #saving = null;
  #seen = null; // the version that was heard of last

  get canUndo() { return this.#past.length > 0; }
  get canRedo() { return this.#future.length > 0; }
  get unsaved() { return JSON.stringify(this.document) !== this.#written; }

  async open(name) {
    await this.flush();
    this.#take(await api.openBoard(name));
    this.#past = [];
    this.#future = [];
    this.#tell("opened");
  }

  /** Change the document. Changes of one kind in quick succession are one step of the history. */
  change(document, what) {
    const now = Date.now();
    const typing = what !== "" && what === this.#last.what && now - this.#last.when < TYPING_MS;
    if (!typing) this.#past = [...this.#past, this.document].slice(-MOST_STEPS);
    this.#last = { what, when: now };
    this.#future = [];
    this.document = document;
    this.#tell("changed");
    this.#save();
  }

  undo() { this.#step(this.#past, this.#future); }
  redo() { this.#step(this.#future, this.#past); }

  #step(from, to) {
    if (!from.length) return;
    to.push(this.document);
    this.document = from.pop();
    this.#last = { what: "", when: 0 };
    this.#tell("stepped");
    this.#save();
  }

  /** Hear which version of the board lies on disk; null: it is gone. */
  async heard(version) {
    this.#seen = version;
    await this.#saving;
    if (this.#seen !== version || version === this.version || this.conflict || !this.name) return;
    if (version === null || this.unsaved) return this.#save();
    const found = await api.openBoard(this.name).catch(() => null);
    if (!found || found.version === this.version) return;
    if (this.unsaved) return this.#save();
    this.#past.push(this.document);
    this.#take(found);
    this.#tell("reloaded");
  }

  /** End a conflict: keep what is here ("mine"), or take what is on disk ("theirs"). */
  settle(choice) {
    const found = this.conflict;
    this.conflict = null;
    this.version = found?.version ?? "";
    if (choice === "theirs" && found) {
      this.#past.push(this.document);
      this.#take(found);
      this.#tell("reloaded");
    } else this.#save();
  }

  /** Wait until the file holds what is here. */
  async flush() {
    clearTimeout(this.#timer);
    if (this.name && this.unsaved && !this.conflict) await this.#write();
    await this.#saving;
  }

  #take({ name, document, version }) {
    Object.assign(this, { name, document, version, conflict: null });
    this.#written = JSON.stringify(document);
  }

  #save() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#write(), SAVE_MS);
    this.#tell("saving");
  }

  async #write() {
    if (this.conflict || !this.unsaved) return this.#tell("saved");
    if (this.#saving) {
      await this.#saving;
      return this.#write();
    }
    this.#saving = this.#put();
    await this.#saving;
    this.#saving = null;
    if (this.unsaved && !this.conflict) this.#timer = setTimeout(() => this.#write(), SAVE_MS);
  }

  async #put() {
    const written = JSON.stringify(this.document);
    try {
      const { version } = await api.saveBoard(this.name, this.document, this.version);
      this.version = version;
      this.#written = written;
      this.#tell("saved");
    } catch (error) {
      if (error.status === 409) {
        this.conflict = error.changed ?? { name: this.name, document: null, version: "" };
        this.#tell("conflict");
      } else this.#tell("unsaved", error.message);
    }
  }

  #tell(what, detail) { this.dispatchEvent(new CustomEvent(what, { detail })); }
}
