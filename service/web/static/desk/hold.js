// Hold: what this editor has published and can still take back, as the board knows it, so that a reload forgets nothing.
// One key takes back the latest: Escape, as long as no dialog is open.

import { $, about, complain, el, fresh, left, report } from "./about.js";
import { act } from "./api.js";
import { edit } from "./edit.js";

const TICK_MS = 200;
const LATE = "Too late: it is on the air. Withhold or kill it on the board.";

/** id -> the record and how it is shown, the latest last. */
const held = new Map();
let serviceNow = Date.now;

/** Show what of these records is mine and held; `now()` is the service's time in ms. */
export function holds(records, now) {
  serviceNow = now;
  const known = new Map(records.map((record) => [record.id, record]));
  for (const id of [...held.keys()]) {
    const record = known.get(id);
    if (record?.held) continue;
    if (record?.state === "live") report("Published.");
    held.get(id).node.remove();
    held.delete(id);
  }
  const mine = records.filter((record) => record.held && record.publishedBy === about.user && !held.has(record.id));
  for (const record of mine.sort((a, b) => (a.publishAt < b.publishAt ? -1 : 1))) add(record);
  // One key, one line: the others are stopped by their button.
  [...held.values()].forEach(({ key }, place) => (key.hidden = place !== held.size - 1));
  tick();
}

function add({ id, item: line, publishAt }) {
  const rest = el("strong", {});
  const key = el("kbd", {}, " Esc");
  const button = el("button", { type: "button", "data-stop": id }, "Stop", key);
  const node = el("li", {}, el("span", {}, "Goes out in ", rest, ": "), el("bdi", {}, line.headline), " ", button);
  button.addEventListener("click", () => stop(id, line.headline));
  held.set(id, { node, rest, key, headline: line.headline, ends: Date.parse(publishAt) });
  $("holds").append(node);
}

function tick() {
  for (const { rest, ends } of held.values()) {
    const words = left(ends - serviceNow());
    if (rest.textContent !== words) rest.textContent = words;
  }
}
setInterval(tick, TICK_MS);

async function stop(id, headline) {
  // Gone at once: a second Escape is for the one before.
  held.get(id)?.node.remove();
  held.delete(id);
  try {
    await act(id, "stop", {}, { key: fresh() });
    report("Stopped: “", el("bdi", {}, headline), "” is a draft on the board, and nobody saw it.");
    // Nothing opens over what is being typed, or over another line that still counts down.
    if (!held.size && !$("headline").value && !document.querySelector("dialog[open]")) await edit(id, "edit");
  } catch (error) {
    complain(error.code === "conflict" ? LATE : error.message);
  }
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing || document.querySelector("dialog[open]") || !held.size) return;
  event.preventDefault();
  const [id, { headline }] = [...held].at(-1);
  stop(id, headline);
});
