// Compose: a new line. What is typed outlives a lost connection, a reload and a sign-in; it ends with the tab.

import { draw } from "../line.js";
import { $, about, calendar, clock, complain, el, fresh, report, screens } from "./about.js";
import { Refusal, call, item } from "./api.js";
import { ask, override } from "./ask.js";
import { explain, fieldsOf, filled, guard, missing, retype, typed, visit } from "./form.js";

const KEPT = `stoppress-compose-${about.edition}`;
const PAUSE_MS = 300;
const TWICE_MS = 1500;
const COMPARED = 8; // characters; shorter lines are like everything

const form = $("compose");
/** One attempt's key: a line that is sent again after a lost answer is the same line, until it is changed. A reload keeps it. */
let attempt = null;
/** The record that the line is a translation of. */
let source = null;
let board = { air: [], connected: 0 };
let sending = false;
let sentAt = -Infinity;
let pause = 0;
let look = async () => board;

function save() {
  sessionStorage.setItem(KEPT, JSON.stringify({ values: typed(form), attempt, source: source?.id }));
}

function restore() {
  try {
    const { values, attempt: before, source: of } = JSON.parse(sessionStorage.getItem(KEPT) ?? '{"values": {}}');
    attempt = before;
    retype(form, values);
    return of;
  } catch {
    sessionStorage.removeItem(KEPT);
    return null;
  }
}

// Preview: the ticker itself, in a shadow so that neither its styles nor the desk's reach the other. -----------------

const shadow = $("preview").attachShadow({ mode: "open" });
const lines = el("ol", { class: "lines", role: "list" });
shadow.append(el("link", { rel: "stylesheet", href: about.tickerStyle }), el("section", { class: "ticker", lang: about.language, dir: about.direction }, lines));

/** The new line as readers will see it, on top of the last five of the edition. */
function preview() {
  const line = filled(form);
  const now = new Date().toISOString();
  const mine = { id: "new", version: 1, language: about.language, publishedAt: line.embargoedUntil ?? line.publishAt ?? now, ...line };
  const drawn = line.headline ? [draw(mine, about.words)] : [];
  drawn[0]?.classList.add("draft");
  lines.replaceChildren(...drawn, ...board.air.map((each) => draw(each, about.words)));
  // What is to be pressed is on the board; this only shows.
  for (const link of lines.querySelectorAll("a")) link.replaceWith(el("span", { class: link.className }, ...link.childNodes));
  for (const note of lines.querySelectorAll("[tabindex]")) note.removeAttribute("tabindex");
}

/** What the board knows by now. */
export function known(next) {
  const changed = JSON.stringify(next.air) !== JSON.stringify(board.air);
  board = next;
  if (changed) preview();
}

/** Recent lines that say nearly the same, once the writer pauses. It only suggests: no trouble here is shown. */
function compare() {
  clearTimeout(pause);
  pause = setTimeout(async () => {
    const { headline } = filled(form);
    const asked = [...headline].length >= COMPARED;
    const { items } = asked ? await call("POST", "/desk/similar", { edition: about.edition, headline }).catch(() => ({ items: [] })) : { items: [] };
    if (headline !== filled(form).headline) return;
    const found = items.map((each) =>
      el("li", {}, el("strong", {}, "Similar: "), el("bdi", { lang: about.language }, each.headline), ` · ${each.state}, ${clock(each.changedAt)}`));
    $("similar").replaceChildren(...found);
    $("similar").hidden = !found.length;
  }, PAUSE_MS);
}

const alone = () => about.publishes && !about.twoPerson.includes(filled(form).urgency);
const main = () => (alone() ? "live" : "submitted");

function show() {
  explain(form);
  preview();
  const { when } = form.elements;
  const words = { live: when.value === "now" ? "Publish" : "Publish at its time", submitted: "Hand in for approval" };
  $("main-word").textContent = words[main()];
  $("alone").hidden = !about.publishes || alone();
}

function changed() {
  attempt = null;
  report();
  save();
  show();
  compare();
}

async function confirmed(line) {
  const { connected } = await look();
  const at = line.embargoedUntil ?? line.publishAt;
  const text = `“${line.headline}” goes to ${screens(connected)} of ${about.name}${at ? `, at ${calendar(at)}` : ", now"}.`;
  return ask({ title: `Flash in ${about.name}`, text, yes: "Publish flash", run: async () => {} });
}

async function send(state, reason) {
  if (sending) return;
  const line = { edition: about.edition, ...filled(form) };
  if (source) line.translationOf = source.id;
  if (reason) line.override = reason;
  // The second of two quick presses has nothing to say.
  if (!line.headline && performance.now() - sentAt < TWICE_MS) return;
  complain("");
  const fault = missing(form);
  if (fault) {
    complain(fault[0]);
    visit(fault[1]);
    return;
  }
  if (state === "live" && !reason && !alone()) return void override(line.headline, (given) => send(state, given));
  sending = true;
  let next = $("headline");
  try {
    if (state === "live" && line.urgency === 1 && !reason && !(await confirmed(line))) return;
    for (const button of form.querySelectorAll("button")) button.disabled = true;
    attempt ??= fresh();
    save();
    const answer = await call("POST", "/v1/items", { ...line, state }, { key: `${attempt}-${state}${reason ? "-alone" : ""}` });
    sentAt = performance.now();
    clear();
    // What is held shows itself, as soon as the board knows it.
    const held = answer.state === "scheduled" && !line.publishAt;
    const words = { live: "Published.", embargoed: "Accepted: public when its embargo ends.", scheduled: "Scheduled.", draft: "Saved as draft.", submitted: "Handed in: it waits for approval." };
    report(held ? "" : (words[answer.state] ?? answer.state));
  } catch (error) {
    if (error.code === "second-person" && about.publishes && !reason) {
      sending = false;
      await override(line.headline, (given) => send(state, given));
      return;
    }
    if (reason) throw error;
    complain(error.message);
    next = form.elements[error.field] ?? next;
  } finally {
    sending = false;
    for (const button of form.querySelectorAll("button")) button.disabled = false;
    if (!document.querySelector("dialog[open]")) visit(next);
  }
}

function clear() {
  form.reset();
  attempt = null;
  translate(null);
  sessionStorage.removeItem(KEPT);
  $("similar").hidden = true;
  show();
  compare();
}

/** Write the line as a translation of another: urgency, link and what both editions know are carried over. */
function translate(record) {
  source = record;
  $("source").hidden = !record;
  if (!record) return;
  const { item: line, edition } = record;
  $("source-edition").textContent = about.editions[edition]?.name ?? edition;
  const text = $("source-text");
  text.replaceChildren(...(line.speaker ? [el("bdi", {}, line.speaker), ": "] : []), el("bdi", {}, line.headline));
  text.lang = line.language;
  text.dir = about.editions[edition]?.direction ?? "auto";
}

function carry({ item: line }) {
  const { elements } = form;
  elements.link.value ||= line.link ?? "";
  if ([...elements.section.options].some(({ value }) => value === line.section)) elements.section.value = line.section;
  for (const field of fieldsOf(form)) {
    if (field.name === "urgency") field.checked = Number(field.value) === line.urgency;
    if (field.name === "region") field.checked ||= line.regions.includes(field.value);
  }
}

async function find(id, begins) {
  try {
    const record = await item(id);
    if (!record.item) throw new Refusal("What was to be translated has been killed.");
    if (record.edition === about.edition) throw new Refusal(`That line is one of ${about.name} already: it is translated on another edition's desk.`);
    translate(record);
    if (begins) carry(record);
    save();
    show();
  } catch (error) {
    complain(error.message);
  }
}

/** Begin. `ask(): Promise<board>` gives the audience as it is now. */
export async function compose(asked) {
  look = asked;
  const before = restore();
  form.addEventListener("input", changed);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(main());
  });
  guard(form, () => send(main()));
  $("draft").addEventListener("click", () => send("draft"));
  $("alone").addEventListener("click", () => send("live"));
  $("source-none").addEventListener("click", () => {
    translate(null);
    save();
    $("headline").focus();
  });
  show();
  const query = new URLSearchParams(location.search);
  const of = query.get("of");
  if (of) {
    // Once: a reload must not bring back what somebody dropped.
    history.replaceState(null, "", `${location.pathname}?edition=${encodeURIComponent(about.edition)}`);
    await find(of, true);
    $("headline").focus();
  } else if (before) await find(before, false);
}
