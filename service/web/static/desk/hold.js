// Hold: what was just published waits a moment. One key takes it back: Escape, as long as no dialog is open.

import { $, el, fresh, left } from "./about.js";
import { act } from "./api.js";
import { edit } from "./edit.js";

const TICK_MS = 200;
const LATE = "Too late: it is on the air. Withhold or kill it on the board.";

const held = new Map();
let timer = 0;

/** Count down `ms` for an item, with its stop. The service releases it; this only shows how long that is. */
export function hold(id, headline, ms) {
  const rest = el("strong", {});
  const button = el("button", { type: "button", "data-stop": id }, "Stop ", el("kbd", {}, "Esc"));
  const node = el("li", {}, el("span", {}, "Goes out in ", rest, ": "), el("bdi", {}, headline), " ", button);
  button.addEventListener("click", () => stop(id));
  held.set(id, { node, rest, ends: performance.now() + ms, key: fresh() });
  $("holds").append(node);
  timer ||= setInterval(tick, TICK_MS);
  tick();
}

function tick() {
  for (const [id, each] of held) {
    const ms = each.ends - performance.now();
    if (each.rest.textContent !== left(ms)) each.rest.textContent = left(ms);
    // Until the board says what became of it, a late stop may still be in time.
    if (ms < -2000) drop(id);
  }
  if (!held.size) timer = void clearInterval(timer) ?? 0;
}

function drop(id) {
  held.get(id)?.node.remove();
  held.delete(id);
}

export async function stop(id) {
  const each = held.get(id);
  drop(id);
  try {
    await act(id, "stop", {}, { key: each?.key ?? fresh() });
    $("done").textContent = "Stopped: it is a draft, and nobody saw it.";
    await edit(id, "edit");
  } catch (error) {
    $("trouble").textContent = error.code === "conflict" ? LATE : error.message;
    $("trouble").hidden = false;
  }
}

/** The board has heard what became of it. */
export function settled(records) {
  for (const { id, state } of records) if (held.has(id) && state !== "scheduled") drop(id);
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing || document.querySelector("dialog[open]") || !held.size) return;
  event.preventDefault();
  stop([...held.keys()].at(-1));
});
