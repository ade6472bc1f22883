// Board: the edition's items by state, each with its way to the screens. Drawn once per change of a row.

import { $, SHAPES, about, calendar, clock, el, left } from "./about.js";
import { actions } from "./actions.js";
import { chart, hops } from "./chart.js";
import { openBy } from "./presence.js";

const GROUPS = [
  ["Waits for somebody", ["submitted", "approved"]],
  ["Waits for its time", ["scheduled", "embargoed"]],
  ["On the air, and withheld", ["live", "withheld"]],
  ["Drafts", ["draft"]],
  ["Over", ["expired", "killed"]],
];
const TICK_MS = 500;

/** id -> what is known of it and how it is drawn. */
const rows = new Map();
/** The service's clock minus ours. */
let skew = 0;
export const serviceNow = () => Date.now() + skew;

const groups = GROUPS.map(([name, states], place) => {
  const list = el("ol", { role: "list" });
  const heading = el("h3", { id: `group-${place}` }, name);
  const section = el("section", { "aria-labelledby": heading.id, hidden: "" }, heading, list);
  $("items").append(section);
  return { states, list, section };
});

function text(record) {
  const { item: line } = record;
  const node = el("p", { class: "text", lang: line?.language ?? "en", dir: line ? about.direction : "ltr" });
  if (!line) node.append(`killed by ${record.changedBy}: ${record.note ?? "no reason given"}`);
  else node.append(...(line.speaker ? [el("bdi", { class: "lead" }, line.speaker), ": "] : []), el("bdi", {}, line.headline));
  return node;
}

function marks(record) {
  const { item: line, state } = record;
  const word = record.held ? "held" : state;
  const node = el("p", { class: "marks" }, el("span", { class: "mark" }, `${SHAPES[state]} ${word}`));
  if (line) node.append(el("span", {}, about.urgency[line.urgency - 1]));
  if (line?.pinned) node.append(el("span", {}, "pinned"));
  if (line?.correction) node.append(el("span", {}, "corrected"));
  node.append(el("time", { datetime: record.changedAt, title: record.changedAt }, clock(record.changedAt)));
  node.append(el("bdi", {}, (record.changedBy === "clock" && record.publishedBy) || record.changedBy));
  if (state === "submitted" && record.submittedBy) node.append(el("span", {}, "handed in by ", el("bdi", {}, record.submittedBy)));
  if (record.approvedBy && !record.public) node.append(el("span", {}, "approved by ", el("bdi", {}, record.approvedBy)));
  const due = record.embargoedUntil ?? record.publishAt;
  if (due && ["scheduled", "embargoed"].includes(state)) node.append(el("span", { class: "due", "data-due": due, title: calendar(due) }));
  else if (due) node.append(el("span", {}, `planned for ${calendar(due)}`));
  node.append(el("span", { class: "others" }), el("a", { href: `/desk/items/${encodeURIComponent(record.id)}` }, "history"));
  return node;
}

function reachOf({ reach, state }) {
  if (!reach) return "";
  const { screens, confirmed } = reach;
  if (state === "killed") return `still on ${Math.max(0, screens - confirmed)} of ${screens} screens`;
  return state === "live" ? `on ${confirmed} of ${screens} screens` : "";
}

function draw(record) {
  const node = el("li", { "data-id": record.id, "data-state": record.state }, marks(record), text(record));
  node.append(el("p", { class: "way" }, el("span", { class: "reach" }), " ", el("span", { class: "hops" })), actions(record));
  return node;
}

/** What changes without the line changing: reach, and the curve. */
function update(node, record) {
  const reach = node.querySelector(".reach");
  const words = reachOf(record);
  if (reach.textContent !== words) reach.textContent = words;
  const way = JSON.stringify([record.hops, record.reach?.screens]);
  if (node.dataset.way === way) return;
  node.dataset.way = way;
  const place = node.querySelector(".hops");
  place.replaceChildren(...(record.hops ? [...(record.hops.confirmed ? [chart(record.hops.curve, record.reach?.screens ?? 0), " "] : []), hops(record.hops)] : []));
}

function others(node, id) {
  const names = openBy(id);
  const place = node.querySelector(".others");
  const words = names.length ? `✎ ${names.join(", ")} has it open` : "";
  if (place.textContent !== words) place.textContent = words;
}

/** Show a board; `at` is the service's time of it in ms, 0 if it is not known. */
export function arrange(board, at) {
  if (at) skew = at - Date.now();
  $("audience").textContent = `${board.connected} ${board.connected === 1 ? "screen" : "screens"} connected`;
  $("audience").dataset.count = board.connected;
  const known = new Set(board.order);
  for (const [id, { node }] of rows) if (!known.has(id)) (node.remove(), rows.delete(id));
  const focused = document.activeElement?.closest?.("#items li");
  const held = focused && { id: focused.dataset.id, action: document.activeElement.dataset.action };
  for (const record of board.rows) {
    const before = rows.get(record.id);
    let node = before?.node;
    if (before?.record.rev !== record.rev || JSON.stringify(before.record.sisters) !== JSON.stringify(record.sisters)) {
      node?.remove();
      node = draw(record);
    }
    rows.set(record.id, { node, record });
    update(node, record);
  }
  for (const { states, list, section } of groups) {
    const mine = board.order.map((id) => rows.get(id)).filter((row) => row && states.includes(row.record.state));
    if (states.includes("scheduled")) mine.sort((a, b) => (dueOf(a) < dueOf(b) ? -1 : 1));
    mine.forEach(({ node }, place) => list.children[place] !== node && list.insertBefore(node, list.children[place] ?? null));
    section.hidden = !mine.length;
  }
  for (const [id, { node }] of rows) others(node, id);
  // Who acts by keyboard stays on the line, also when the button that they pressed is gone.
  const heir = held && !document.querySelector("dialog[open]") && rows.get(held.id)?.node;
  if (heir && document.activeElement === document.body) {
    // A second press on "publish" must not cut the hold short.
    const action = heir.dataset.state === "scheduled" && held.action === "publish" ? "stop" : held.action;
    (heir.querySelector(`[data-action="${action}"]`) ?? heir.querySelector("button") ?? $("headline")).focus();
  }
  works(board);
  tick();
}

const dueOf = ({ record }) => record.embargoedUntil ?? record.publishAt ?? "";

/** The records that are drawn now. */
export const records = () => [...rows.values()].map(({ record }) => record);

function tick() {
  const now = serviceNow();
  for (const node of document.querySelectorAll("#items [data-due]")) {
    const words = `on air in ${left(Date.parse(node.dataset.due) - now)}`;
    if (node.textContent !== words) node.textContent = words;
  }
}
setInterval(tick, TICK_MS);

// The works: what waits behind the scenes, and what failed there. -----------------------------------------------------

let retry = async () => {};
export const onRetry = (run) => (retry = run);

function works({ outbox, outboxSince, jobs }) {
  const waits = outbox ? `, the first for ${left(serviceNow() - outboxSince)}` : "";
  $("outbox").textContent = `Outbox: ${outbox ? `${outbox} waiting${waits}` : "empty"} · jobs waiting: ${jobs.waiting} · failed: ${jobs.failures}`;
  $("works").dataset.trouble = jobs.failures > 0 || outbox > 0;
  const ids = jobs.failed.map(({ id }) => id).join();
  if ($("jobs").dataset.ids === ids) return;
  $("jobs").dataset.ids = ids;
  $("jobs").replaceChildren(
    ...jobs.failed.map(({ id, what, error, at }) => {
      const node = el("li", {}, el("strong", {}, "failed: "), `${what} · ${at ? calendar(at) : ""} · `, el("bdi", {}, error), " ");
      if (about.publishes) {
        const button = el("button", { type: "button", "aria-label": `Retry ${what}` }, "retry");
        button.addEventListener("click", () => retry(id));
        node.append(button);
      }
      return node;
    }),
  );
}
