// About: what the page was rendered for, and the few things that every part of the desk uses.

import { el } from "../line.js";

export const about = JSON.parse(document.body.dataset.about);
export const $ = (id) => document.getElementById(id);
export { el };

/** Every state has a word and a shape beside its colour. */
export const SHAPES = {
  draft: "◌", submitted: "◔", approved: "◑", scheduled: "◷", embargoed: "⏳", live: "●", withheld: "‖", expired: "○", killed: "✕",
};

/** A key that names one attempt or one tab. `randomUUID` is not there on plain HTTP. */
export const fresh = () => crypto.randomUUID?.() ?? [...crypto.getRandomValues(new Uint32Array(4))].join("-");

/** What went wrong, at the form; empty when nothing did. */
export function complain(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

/** What was done, at the form: text, or nodes. */
export const report = (...content) => $("done").replaceChildren(...content);

export const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
export const clock = (moment) => new Date(moment).toLocaleTimeString();
export const calendar = (moment) => new Date(moment).toLocaleString();
export const utc = (moment) => `${new Date(moment).toISOString().slice(0, 16).replace("T", " ")} UTC`;
export const screens = (count) => `${count} connected ${count === 1 ? "screen" : "screens"}`;

/** Time left, as people say it: 4 s, 12:05, 3 h 10 min, 2 d. */
export function left(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}:${String(seconds % 60).padStart(2, "0")}`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d`;
}
