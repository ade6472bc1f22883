// Actions: what may be done to a line in its state, by this account; each asks for what it needs.

import { $, about, complain, el, fresh, report, screens } from "./about.js";
import { act } from "./api.js";
import { ask, override } from "./ask.js";
import { change } from "./edit.js";

const ACTIONS = {
  draft: ["edit", "submit", "publish", "kill"],
  submitted: ["edit", "approve", "approve and publish", "publish", "kill"],
  approved: ["edit", "publish", "kill"],
  scheduled: ["stop", "edit", "publish", "kill"],
  embargoed: ["stop", "edit", "publish", "kill"],
  live: ["edit", "correct", "withhold", "pin", "unpin", "expire", "kill"],
  withheld: ["edit", "release", "kill"],
  expired: ["kill"],
  killed: [],
};
const WORDS = { live: { edit: "update" }, scheduled: { publish: "publish now" }, embargoed: { publish: "break embargo" }, draft: { submit: "hand in" } };

let done = async () => {};
/** What follows an action. */
export const onDone = (run) => (done = run);

/** Whether the two-person rule still wants somebody for it. */
const ruled = ({ item: line, state, approvedBy }) => about.twoPerson.includes(line?.urgency) && !approvedBy && ["draft", "submitted"].includes(state);

const wordFor = (record, action) => (action === "publish" && ruled(record) ? "publish alone…" : (WORDS[record.state]?.[action] ?? action));

function may(record, action) {
  const own = about.publishes || ["draft", "submitted"].includes(record.state);
  if (["edit", "correct"].includes(action)) return own;
  const mine = [record.writtenBy, record.submittedBy].includes(about.user);
  if (action.startsWith("approve") && (!about.allowed.includes("approve") || (ruled(record) && mine))) return false;
  if (action === "approve and publish") return about.publishes;
  if (!about.allowed.includes(action)) return false;
  return !(action === "pin" && record.item?.pinned) && !(action === "unpin" && !record.item?.pinned);
}

/** The buttons of a row, and where it can be translated to or stands already. */
export function actions(record) {
  const line = record.item;
  const group = el("div", { class: "actions", role: "group", "aria-label": `Actions for ${line?.headline ?? record.id}` });
  for (const action of ACTIONS[record.state].filter((each) => may(record, each))) {
    const button = el("button", { type: "button", "data-action": action }, wordFor(record, action));
    button.addEventListener("click", () => run(record, action));
    group.append(button);
  }
  if (line && record.state !== "expired") {
    for (const [edition, { name }] of Object.entries(about.editions)) {
      if (edition === about.edition) continue;
      const sister = record.sisters?.[edition];
      const query = sister ? `correct=${encodeURIComponent(sister)}` : `of=${encodeURIComponent(record.id)}`;
      const label = `${sister ? "Open its sister in" : "Translate into"} ${name}`;
      group.append(el("a", { class: "sister", href: `/desk?edition=${encodeURIComponent(edition)}&${query}`, "aria-label": label, title: label }, `${sister ? "=" : "+"} ${edition}`));
    }
  }
  return group;
}

async function run(record, action) {
  const { id, item: line, version } = record;
  const title = `${action[0].toUpperCase()}${action.slice(1)}`;
  const key = fresh();
  const does = (more = {}) => act(id, action, more, { version, key: more.override ? `${key}-alone` : key });
  complain("");
  report();
  try {
    if (["edit", "correct"].includes(action)) await change(record, action);
    else if (action === "kill") await kill(record, key);
    else if (action === "publish") await guarded(record, does);
    else if (action.startsWith("approve")) {
      // What is approved is this text: the version goes along, and another one is refused.
      const text = `“${line.headline}”, ${about.urgency[line.urgency - 1].toLowerCase()}, by ${record.writtenBy ?? record.createdBy}.`;
      const publishes = action !== "approve";
      const run = async () => {
        await act(id, "approve", {}, { version, key });
        if (publishes) await act(id, "publish", {}, { version, key: `${key}-publish` });
      };
      const where = publishes ? ` It goes to ${screens(Number($("audience").dataset.count ?? 0))} of ${about.name}.` : "";
      await ask({ title, text: text + where, yes: title, run });
    } else if (action === "release") {
      const text = `“${line.headline}” comes back to every screen.`;
      await ask({ title, text, yes: title, note: "What the check found, for the audit log", run: (note) => does({ note }) });
    } else await does();
  } catch (error) {
    complain(`${title}: ${error.message}`);
  }
  await done();
}

/** Publish: a flash is confirmed, an embargo is not broken by a slip, and a rule is passed over with a reason only. */
async function guarded(record, does) {
  const { state, item: line, embargoedUntil } = record;
  const count = Number($("audience").dataset.count ?? 0);
  if (ruled(record)) await override(line.headline, (reason) => does({ override: reason }));
  else if (state === "embargoed") {
    const text = `“${line.headline}” is under embargo until ${new Date(embargoedUntil).toLocaleString()}. It goes out now, to ${screens(count)}.`;
    await ask({ title: "Break the embargo", text, yes: "Publish now", run: () => does() });
  } else if (line.urgency === 1) {
    const text = `“${line.headline}” goes to ${screens(count)} of ${about.name}.`;
    await ask({ title: `Flash in ${about.name}`, text, yes: "Publish flash", run: () => does() });
  } else await does();
}

async function kill({ id, item: line, sisters }, key) {
  const kin = Object.keys(sisters ?? {});
  const names = kin.map((edition) => about.editions[edition]?.name ?? edition).join(", ");
  let told = [];
  const agreed = await ask({
    title: "Kill",
    text: `“${line.headline}” is retracted for good, on every screen, and its text is deleted.`,
    yes: "Kill",
    note: "The reason, for the audit log",
    also: kin.length ? `Kill in all editions: its sisters in ${names}, too` : null,
    run: async (note, everywhere) => {
      const body = everywhere && kin.length ? { note, everywhere } : { note };
      told = (await act(id, "kill", body, { key })).sisters ?? [];
    },
  });
  if (!agreed) return;
  const failed = told.filter(({ error }) => error);
  if (failed.length) complain(`Killed here, but not in ${failed.map(({ edition, error }) => `${about.editions[edition]?.name ?? edition}: ${error}`).join("; ")}`);
  else report(told.length ? `Killed, and in ${told.map(({ edition }) => about.editions[edition]?.name ?? edition).join(", ")}.` : "Killed.");
}
