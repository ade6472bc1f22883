// Edit: new text for a line that is there, its translations beside it. Two people on one line see each other, and what
// the other one saved meanwhile is laid beside one's own.

import { $, about, el, fresh, report, screens } from "./about.js";
import { act, address, call, item } from "./api.js";
import { ask, override } from "./ask.js";
import { explain, fill, filled, guard, missing, retype, typed, visit } from "./form.js";
import { open } from "./presence.js";

const NAMES = { headline: "headline", speaker: "speaker", outlet: "outlet", urgency: "urgency", section: "section", link: "link", regions: "regions", embargoedUntil: "embargo", publishAt: "schedule", expires: "expiry" };

// What is typed outlives Escape, a reload and a sign-in, beside what it was typed over; it ends with the tab.
const keptOf = (id) => `stoppress-edit-${id}`;

const dialog = $("edit");
const form = $("edit-form");
/** What the fields were filled from: the version that a save names, and what tells one's own changes apart. */
let base = null;
let kind = "edit";
let sending = false;
let over = () => {};

const shown = (name, value) =>
  value == null || value === "" || value.length === 0 ? "none" : name === "urgency" ? about.urgency[value - 1] : Array.isArray(value) ? value.join(", ") : String(value);

/** A record's line as the form gives it, so that the two can be compared. */
function lineOf(record) {
  const scratch = form.cloneNode(true);
  fill(scratch, record);
  return filled(scratch);
}

const differs = (a, b, name) => JSON.stringify(a[name] ?? null) !== JSON.stringify(b[name] ?? null);
const changedBy = (mine, theirs) => Object.keys(NAMES).filter((name) => differs(mine, theirs, name));

/** Only what was changed is sent: what somebody else changed elsewhere in the line stays theirs. */
function changes() {
  const mine = filled(form);
  const before = lineOf(base);
  const names = changedBy(mine, before).filter((name) => !["embargoedUntil", "publishAt"].includes(name));
  const sent = Object.fromEntries(names.map((name) => [name, mine[name] ?? null]));
  if (differs(mine, before, "embargoedUntil") || differs(mine, before, "publishAt")) {
    sent.embargoedUntil = mine.embargoedUntil ?? null;
    sent.publishAt = mine.publishAt ?? null;
  }
  return sent;
}

/** Open a line. `how` is `edit` or `correct`. Resolves when the dialog is closed again. */
export const edit = async (id, how) => change(await item(id), how);

/** The same for a record that is at hand: at once, so that the next key goes where it is meant to. */
export function change(record, how) {
  if (!record.item) throw new Error("The line has been killed.");
  kind = how;
  base = record;
  sending = false;
  fill(form, record);
  const kept = JSON.parse(sessionStorage.getItem(keptOf(record.id)) ?? "null");
  // Typed over an earlier version, it is merged with this one when it is saved.
  if (kept) base = kept.base;
  const correcting = how === "correct";
  $("edit-title").textContent = correcting ? "Correct" : record.state === "live" ? "Update" : "Edit";
  $("edit-about").textContent = correcting
    ? "An error is put right. Readers see the note."
    : record.state === "live" ? "New facts: readers get the new text, without a note. What was wrong is put right with “correct”." : "Only the newsroom sees this yet.";
  $("edit-note-field").hidden = !correcting;
  $("edit-note").value = "";
  if (kept) retype(form, kept.values);
  for (const field of form.querySelectorAll("[data-unpublished]")) field.hidden = record.public;
  const waits = ["scheduled", "embargoed"].includes(record.state);
  $("edit-publish").hidden = !about.publishes || record.public || waits || about.twoPerson.includes(record.item.urgency);
  $("edit-save").replaceChildren(correcting ? "Correct " : "Save ", el("kbd", {}, "Ctrl+Enter"));
  $("edit-merge").hidden = true;
  complain("");
  $("edit-news").textContent = kept ? "What you had typed is back." : "";
  explain(form);
  sisters(record);
  open(record.id);
  dialog.showModal();
  $("edit-headline").focus();
  over();
  return new Promise((resolve) => (over = resolve));
}

/** The same line in the other editions, as it stands there. */
async function sisters({ sisters: kin }) {
  const list = $("edit-sisters");
  list.replaceChildren();
  list.hidden = true;
  for (const [edition, id] of Object.entries(kin ?? {})) {
    const known = about.editions[edition];
    const sister = known && (await item(id).catch(() => null));
    if (!sister || base.sisters !== kin) continue;
    const text = el("bdi", { lang: sister.item?.language ?? "en", dir: known.direction }, sister.item?.headline ?? "killed");
    const link = el("a", { href: `/desk?edition=${encodeURIComponent(edition)}&correct=${encodeURIComponent(id)}` }, "open there");
    list.append(el("li", {}, el("span", {}, `${known.name} · ${sister.state}: `), text, " ", sister.item ? link : ""));
    list.hidden = false;
  }
}

function complain(text) {
  $("edit-trouble").textContent = text;
  $("edit-trouble").hidden = !text;
  if (text) $("edit-trouble").scrollIntoView({ block: "nearest" });
}

/** What the board knows by now: whether somebody changed or killed the line while it is open here. */
export function noticed(records) {
  const now = dialog.open && records.find(({ id }) => id === base.id);
  if (!now || now.rev <= base.rev || sending) return;
  $("edit-news").textContent = now.item
    ? `${now.changedBy} has changed this meanwhile. What you save is laid beside it first.`
    : `${now.changedBy} has killed this line. Your text is still here to be copied.`;
}

/** What the answer to a save means for the line. */
function saved(state) {
  if (state === "submitted" && base.state !== "submitted") return "Saved. It waits for approval now, and does not go out by itself.";
  if (["draft", "submitted", "approved"].includes(state)) return "Saved. It is not on the air.";
  return "Saved.";
}

async function save(publishes, reason) {
  if (sending) return;
  complain("");
  const fault = missing(form);
  if (fault) {
    complain(fault[0]);
    visit(fault[1]);
    return;
  }
  const note = $("edit-note").value.trim();
  if (kind === "correct" && !note) {
    complain("Expected: the public note.");
    $("edit-note").focus();
    return;
  }
  const sent = changes();
  if (!Object.keys(sent).length && !publishes) {
    complain("Expected a change, got the line as it is.");
    return;
  }
  sending = true;
  try {
    let { version, state } = base;
    if (Object.keys(sent).length) {
      const body = { change: kind === "correct" ? "correct" : "update", ...(note ? { note } : {}), ...sent, ...(reason ? { override: reason } : {}) };
      ({ version, state } = await call("PATCH", address(base.id), body, { version, key: fresh() }));
    }
    if (publishes) {
      const line = filled(form);
      if (line.urgency === 1 && !(await ask({ title: `Flash in ${about.name}`, text: `“${line.headline}” goes to the ${screens(Number($("audience").dataset.count))} of ${about.name}.`, yes: "Publish flash", run: async () => {} }))) {
        base = await item(base.id);
        return;
      }
      await act(base.id, "publish", {}, { version, key: fresh() });
    }
    const kin = Object.keys(base.sisters ?? {}).filter((edition) => about.editions[edition]);
    forget();
    dialog.close();
    if (!publishes) report(saved(state));
    if (kind === "correct" && kin.length) offer(kin);
  } catch (error) {
    if (error.code === "stale-version") await merge();
    else if (error.code === "second-person" && about.publishes && !reason) {
      sending = false;
      await override(base.item.headline, (given) => save(publishes, given));
    } else if (reason) throw error;
    else {
      complain(error.message);
      form.elements[error.field]?.focus();
    }
  } finally {
    sending = false;
  }
}

/** Say where else the same may be wrong. */
function offer(kin) {
  const links = kin.flatMap((edition) => [
    " ",
    el("a", { href: `/desk?edition=${encodeURIComponent(edition)}&correct=${encodeURIComponent(base.sisters[edition])}` }, el("bdi", {}, about.editions[edition].name)),
  ]);
  report("Corrected. The same line stands in", ...links, ".");
}

/** Somebody saved first. What only one of us changed is kept; where both did, both texts are shown to choose from. */
async function merge() {
  const mine = filled(form);
  const theirs = await item(base.id);
  if (!theirs.item) {
    complain(`${theirs.changedBy} has killed the line. Your text is still here to be copied.`);
    return;
  }
  const [before, after] = [lineOf(base), lineOf(theirs)];
  const ours = changedBy(mine, before);
  const both = ours.filter((name) => differs(before, after, name) && differs(mine, after, name));
  const rows = changedBy(before, after).map((name) => row(name, before[name], after[name], mine[name], both.includes(name)));
  const kept = Object.fromEntries(ours.map((name) => [name, mine[name]]));
  base = theirs;
  fill(form, theirs);
  put({ ...after, ...kept });
  $("edit-merge-by").textContent = theirs.changedBy;
  $("edit-merge-rows").replaceChildren(...rows);
  $("edit-merge").hidden = false;
  complain(both.length
    ? `${theirs.changedBy} changed the same: ${both.map((name) => NAMES[name]).join(", ")}. Yours is in the fields. Choose, and save again.`
    : `${theirs.changedBy} saved first. Your changes were laid over theirs: look, and save again.`);
  $("edit-merge").scrollIntoView({ block: "nearest" });
}

function row(name, before, theirs, mine, both) {
  const cell = (label, value) => el("dd", {}, el("span", { class: "side" }, `${label}: `), el("bdi", {}, shown(name, value)));
  const cells = [cell("before", before), cell("theirs", theirs)];
  if (both) {
    const take = el("button", { type: "button" }, `Take theirs: ${NAMES[name]}`);
    take.addEventListener("click", () => {
      put({ [name]: theirs });
      take.replaceWith(el("span", {}, "taken"));
      $("edit-headline").focus();
    });
    cells.push(cell("yours", mine), el("dd", {}, take));
  }
  return el("div", { "data-field": name, "data-both": both }, el("dt", {}, NAMES[name]), ...cells);
}

/** Put single values into the fields. */
function put(line) {
  const { elements } = form;
  for (const [name, value] of Object.entries(line)) {
    if (["headline", "speaker", "outlet", "section", "link"].includes(name)) elements[name].value = value ?? "";
    if (name === "urgency") for (const field of elements.urgency) field.checked = Number(field.value) === value;
    if (name === "regions") for (const field of form.querySelectorAll("[name=region]")) field.checked = (value ?? []).includes(field.value);
  }
  explain(form);
}

function forget() {
  sessionStorage.removeItem(keptOf(base.id));
}

form.addEventListener("input", () => {
  explain(form);
  sessionStorage.setItem(keptOf(base.id), JSON.stringify({ base, values: typed(form) }));
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  save(false);
});
guard(form, () => save(false));
// The note is one line at the end: Enter in it saves, as in any dialog.
$("edit-note").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing || event.repeat) return;
  event.stopPropagation();
  event.preventDefault();
  save(false);
});
$("edit-publish").addEventListener("click", () => save(true));
$("edit-cancel").addEventListener("click", () => {
  forget();
  dialog.close();
});
dialog.addEventListener("close", () => {
  // The event comes late: by then another line may be open.
  if (dialog.open) return;
  open(null);
  over();
});
