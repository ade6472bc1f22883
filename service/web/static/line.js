// Line: one line of news as markup. The readers' page draws its lines with it, and the desk its preview of them.
// Text from outside becomes text nodes only, never markup.

const RTL_SCRIPTS = new Set(["Adlm", "Arab", "Hebr", "Nkoo", "Rohg", "Syrc", "Thaa"]);

/** Make an element; attributes that are null are left out, strings among the children become text. */
export function el(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value != null) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** A language's writing direction, by the script it is usually written in. */
export function direction(language) {
  try {
    return RTL_SCRIPTS.has(new Intl.Locale(language).maximize().script) ? "rtl" : "ltr";
  } catch {
    return "ltr";
  }
}

/** `link` if a browser may follow it. Checked by the service too, but javascript: would run right here. */
function webLink(link) {
  try {
    return link && ["http:", "https:"].includes(new URL(link).protocol) ? link : null;
  } catch {
    return null;
  }
}

function linked(link, name, content) {
  const address = webLink(link);
  return address
    ? el("a", { class: name, href: address, rel: "noopener" }, content)
    : el("span", { class: name }, content);
}

const formats = new Map();
/** Write a moment as broadcasters do, 14:02 in Western digits, in the reader's time zone. */
function write(moment, language, options) {
  const key = language + Object.keys(options);
  if (!formats.has(key)) {
    formats.set(key, new Intl.DateTimeFormat(language, { ...options, hourCycle: "h23", numberingSystem: "latn" }));
  }
  return formats.get(key).format(moment);
}
export const hour = (moment, language) => write(moment, language, { hour: "2-digit", minute: "2-digit" });
const day = (moment, language) => write(moment, language, { day: "numeric", month: "short" });

/** Put a <time> into the reader's time zone, with its day if that is not today. */
export function localise(time, language) {
  const moment = new Date(time.dateTime);
  if (Number.isNaN(moment.getTime())) return;
  const parts = [el("span", { class: "hour" }, hour(moment, language))];
  if (moment.toDateString() !== new Date().toDateString()) {
    parts.push(" ", el("span", { class: "day" }, day(moment, language)));
  }
  time.replaceChildren(...parts);
}

/** Draw one line. The same markup as `line` in ticker.html: change both. */
export function draw(item, words) {
  const lang = item.language;
  const dir = direction(lang);
  const bdi = (text, name) => el("bdi", { class: name, dir }, text);

  const when = el("time", { class: "when", datetime: item.publishedAt });
  localise(when, words.language);

  const marks = el("p", { class: "marks" }, el("span", { class: "urgency" }, words.urgency[item.urgency - 1] ?? ""));
  if (item.pinned) marks.append(" ", el("span", { class: "pinned" }, words.pinned));
  if (item.outlet && !item.speaker) marks.append(" ", el("bdi", { class: "outlet", lang, dir }, item.outlet));

  const text = el("p", { class: "text", lang, dir });
  if (item.speaker) {
    const lead = el("span", { class: "lead" }, bdi(item.speaker, "speaker"));
    if (item.outlet) {
      const [before, after] = words.told.split("{outlet}");
      lead.append(" ", el("span", { class: "told" }, before, bdi(item.outlet, "outlet"), after));
    }
    lead.append(":");
    text.append(lead, " ");
  }
  text.append(linked(item.link, "headline", bdi(item.headline)));

  const body = el("div", { class: "body" }, marks, text);
  if (item.correction) {
    const corrected = el("span", { class: "corrected" }, words.corrected);
    const note = el("bdi", { lang, dir }, item.correction.note);
    body.append(el("p", { class: "note", role: "note", tabindex: "0" }, corrected, " ", note));
  }
  if (item.related?.length) {
    const stories = item.related.map((story) => el("li", {}, linked(story.link, "story", bdi(story.title))));
    body.append(el("ul", { class: "related", role: "list", "aria-label": words.related, lang, dir }, ...stories));
  }
  return el(
    "li",
    {
      class: "line",
      "data-id": item.id,
      "data-version": item.version,
      "data-urgency": item.urgency,
      "data-pinned": Boolean(item.pinned),
      "data-published": item.publishedAt,
      "data-expires": item.expires,
    },
    when,
    body,
  );
}
