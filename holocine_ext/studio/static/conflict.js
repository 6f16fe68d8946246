// A board that was changed here and elsewhere: both, side by side, and what to do.

import { differencesOf } from "./board.js";
import { $, button, make } from "./dom.js";

/** Ask what becomes of a conflict; the choice is "mine", "theirs" or "both". */
export function askAbout(mine, found, name) {
  const dialog = $("conflict");
  const theirs = found.document;
  const rows = theirs ? differencesOf(mine, theirs) : [];
  return new Promise((resolve) => {
    const choose = (choice) => () => {
      dialog.close();
      resolve(choice);
    };
    const table = make("table", {},
      make("thead", {}, make("tr", {}, make("th", {}), make("th", {}, "Here"), make("th", {}, "On disk"))),
      make("tbody", {}, ...rows.map(([what, here, there]) =>
        make("tr", {}, make("th", { scope: "row" }, what), make("td", {}, here), make("td", {}, there)))));
    dialog.replaceChildren(
      make("h2", { id: "conflict-title" }, `${name} was changed elsewhere, too`),
      make("p", { class: "quiet" }, theirs ? "Nothing was overwritten. These differ:" : "The file is gone."),
      theirs ? table : null,
      make("div", { class: "row" },
        theirs ? button("Keep both: save mine as a new board", choose("both"), { class: "main", autofocus: true }) : null,
        theirs ? button("Take what is on disk", choose("theirs")) : null,
        button(theirs ? "Replace it by what is here" : "Write it again", choose("mine"))));
    dialog.oncancel = (event) => event.preventDefault();
    if (!dialog.open) dialog.showModal();
  });
}
