// Form: the fields of a line, in compose and in the edit dialog alike. Reads them, fills them, and says what they mean.

import { about, utc, zone } from "./about.js";

const lengthOf = (text) => [...text.normalize("NFC").trim()].length;

/** A moment for a datetime-local field, in the editor's zone. */
function local(moment) {
  if (!moment) return "";
  const date = new Date(moment);
  return new Date(date - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

export const fieldsOf = (form) => [...form.elements].filter(({ name }) => name);

const isBox = (field) => ["radio", "checkbox"].includes(field.type);
const keyOf = (field) => (isBox(field) ? `${field.name}=${field.value}` : field.name);

/** All that is typed and ticked, to be kept; `retype` brings it back. */
export const typed = (form) => Object.fromEntries(fieldsOf(form).map((field) => [keyOf(field), isBox(field) ? field.checked : field.value]));

export function retype(form, values) {
  for (const field of fieldsOf(form)) {
    const value = values[keyOf(field)];
    if (value === undefined) continue;
    if (isBox(field)) field.checked = value;
    else field.value = value;
  }
}

/** What the API takes of it. A time that was not touched is not in it. */
export function filled(form) {
  const data = new FormData(form);
  const text = (name) => (data.get(name) ?? "").trim() || null;
  const line = {
    // A pasted line break is a space: it is one line.
    headline: (data.get("headline") ?? "").trim().replaceAll(/\s*[\r\n]+\s*/g, " "),
    speaker: text("speaker"),
    outlet: text("outlet"),
    urgency: Number(data.get("urgency")),
    section: text("section"),
    link: text("link"),
    regions: data.getAll("region"),
  };
  const when = data.get("when");
  const at = data.get("at");
  if (when !== "now" && at) line[when] = new Date(at).toISOString();
  if (data.get("expires")) line.expires = new Date(data.get("expires")).toISOString();
  if (form.elements.pinned) line.pinned = data.has("pinned");
  return line;
}

/** Put a record's line into the fields. */
export function fill(form, record) {
  const { item } = record;
  const { elements } = form;
  for (const name of ["headline", "speaker", "outlet", "section", "link"]) elements[name].value = item[name] ?? "";
  for (const field of fieldsOf(form)) {
    if (field.name === "urgency") field.checked = Number(field.value) === item.urgency;
    if (field.name === "region") field.checked = item.regions.includes(field.value);
    if (field.name === "when") field.checked = field.value === (record.embargoedUntil ? "embargoedUntil" : record.publishAt ? "publishAt" : "now");
  }
  elements.at.disabled = elements.when.value === "now";
  elements.at.value = local(record.embargoedUntil ?? record.publishAt);
  elements.expires.value = record.expiresGiven ? local(item.expires) : "";
}

/** Say what the fields mean: how long the line is, and what a time is elsewhere. */
export function explain(form) {
  const { elements } = form;
  const length = lengthOf(elements.headline.value);
  const count = form.querySelector(".count");
  const limit = length > about.longest ? `at most ${about.longest}` : `over ${about.long}`;
  count.textContent = length > about.long ? `${length} characters: ${limit}` : `${length}`;
  count.dataset.long = length > about.long;
  elements.at.disabled = elements.when.value === "now";
  for (const name of ["at", "expires"]) {
    const { value, disabled } = elements[name];
    form.querySelector(`[data-of=${name}]`).textContent = value && !disabled ? `${zone} · ${utc(value)}` : `in ${zone}`;
  }
}

/** What is missing before it can be sent, with the field that it is missing in; null when nothing is. */
export function missing(form) {
  const { headline, when, at } = form.elements;
  const length = lengthOf(headline.value);
  if (!length) return ["Expected a headline, got none.", headline];
  if (length > about.longest) return [`Expected a headline of at most ${about.longest} characters, got ${length}.`, headline];
  // An embargo whose time was forgotten must not go out at once.
  if (!at.closest("[hidden]") && when.value !== "now" && !at.value) {
    return [`Expected the time ${when.value === "publishAt" ? "at which it goes on the air" : "at which the embargo ends"}, got none.`, at];
  }
  return null;
}

/** Go to a field, also where it is folded away. */
export function visit(field) {
  const folded = field.closest("details");
  if (folded) folded.open = true;
  field.focus();
}

/** Enter in a field publishes nothing: one line, and no line on the air by a slip of the finger. Ctrl+Enter does. */
export function guard(form, go) {
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      if (!event.repeat) go();
    } else if (event.target.tagName === "TEXTAREA" || ["text", "url"].includes(event.target.type)) {
      event.preventDefault();
    }
  });
}
