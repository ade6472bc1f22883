// Presence: says which line this tab has open, and shows who else has it.

import { $, about, fresh } from "./about.js";
import { call } from "./api.js";

const AGAIN_MS = 15_000;

const tab = fresh();
let mine = null;
let timer = 0;
let others = {};

const say = () => call("POST", "/desk/open", { edition: about.edition, tab, id: mine }).catch(() => {});

/** This tab has a line open; null: none. It only informs, so that no trouble with it is shown. */
export function open(id) {
  mine = id;
  clearInterval(timer);
  timer = id ? setInterval(say, AGAIN_MS) : 0;
  say();
  show();
}

/** Who else has an item open, by name. Not oneself: a tab that was closed without a word is remembered for a while. */
export const openBy = (id) => [...new Set((others[id] ?? []).map(([, name]) => name))].filter((name) => name !== about.user);

/** What the board says of everybody. */
export function heard(open) {
  others = open;
  show();
}

function show() {
  const names = mine ? openBy(mine) : [];
  $("edit-others").textContent = names.length ? `${names.join(", ")} ${names.length === 1 ? "has" : "have"} this open, too.` : "";
}

addEventListener("pagehide", () => {
  if (!mine) return;
  const headers = { "x-csrf-token": about.csrf, "content-type": "application/json" };
  fetch("/desk/open", { method: "POST", headers, body: JSON.stringify({ edition: about.edition, tab, id: null }), keepalive: true });
});
