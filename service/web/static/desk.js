// The desk's page: compose, the board, and a question before what cannot be taken back. Changes go to the API.

const about = JSON.parse(document.body.dataset.about);
const $ = (id) => document.getElementById(id);
const compose = $("compose");
// What is typed outlives a lost connection, a reload and a sign-in; it ends with the tab.
const KEPT = `stoppress-compose-${about.edition}`;
const POLL_MS = 1000;
const HIDDEN_MS = 15_000;
const ACTIONS = {
  draft: ["edit", "submit", "publish", "kill"],
  submitted: ["edit", "approve", "publish", "kill"],
  approved: ["edit", "publish", "kill"],
  embargoed: ["edit", "publish", "kill"],
  live: ["edit", "correct", "withhold", "pin", "unpin", "expire", "kill"],
  withheld: ["release", "kill"],
  expired: ["kill"],
  killed: [],
};
const SHAPES = { draft: "◌", submitted: "◔", approved: "◑", embargoed: "⏳", live: "●", withheld: "‖", expired: "○", killed: "✕" };

class Refusal extends Error {}

/** A key that names one attempt. `randomUUID` is not there on plain HTTP. */
const fresh = () => crypto.randomUUID?.() ?? [...crypto.getRandomValues(new Uint32Array(4))].join("-");

/** Ask the API. The same `key` sent again is the same change, so that trying again is safe. */
async function call(method, path, body, { version, key } = {}) {
  const headers = { "x-csrf-token": about.csrf, "content-type": "application/json" };
  if (version) headers["if-match"] = `"${version}"`;
  if (key) headers["idempotency-key"] = key;
  let response;
  try {
    response = await fetch(path, { method, headers, body: JSON.stringify(body), signal: AbortSignal.timeout(8000) });
  } catch {
    throw new Refusal("The service does not answer. Nothing that you typed is lost: try again.");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.status === 401) throw new Refusal("Your session has ended. Reload the page to sign in again: what you typed stays.");
  if (!response.ok) throw new Refusal(answer.detail ? `${answer.detail}${answer.path ? ` (${answer.path})` : ""}` : `The service refused: ${response.status}`);
  return answer;
}

function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// Compose -----------------------------------------------------------------------------------------------------------

const lengthOf = (text) => [...text.normalize("NFC").trim()].length;
const when = (text) => (text ? new Date(text) : null);

/** One attempt's key: a line that is sent again after a lost answer is the same line, until it is changed. A reload keeps it. */
let attempt = null;

function save() {
  const fields = [...compose.elements].filter(({ name }) => name);
  const values = fields.map((field) => (["radio", "checkbox"].includes(field.type) ? field.checked : field.value));
  sessionStorage.setItem(KEPT, JSON.stringify({ values, attempt }));
}

function filled() {
  const data = new FormData(compose);
  const text = (name) => (data.get(name) ?? "").trim() || null;
  const line = {
    edition: about.edition,
    headline: (data.get("headline") ?? "").trim(),
    speaker: text("speaker"),
    outlet: text("outlet"),
    urgency: Number(data.get("urgency")),
    section: text("section"),
    link: text("link"),
    regions: data.getAll("region"),
    pinned: data.has("pinned"),
  };
  const embargo = when(data.get("embargo"));
  const expires = when(data.get("expires"));
  if (embargo) line.embargoedUntil = embargo.toISOString();
  if (expires) line.expires = expires.toISOString();
  return line;
}

function show() {
  const line = filled();
  const length = lengthOf(line.headline);
  $("count").textContent = length > about.long ? `${length} characters: over ${about.long}` : `${length}`;
  $("count").dataset.long = length > about.long;
  for (const name of ["embargo", "expires"]) {
    const moment = when(compose.elements[name].value);
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    $(`${name}-utc`).textContent = moment ? `${zone} · ${moment.toISOString().slice(0, 16).replace("T", " ")} UTC` : `in ${zone}`;
  }
  const lead = line.speaker ? [el("bdi", { class: "lead" }, line.speaker), ...(line.outlet ? [" · ", el("bdi", {}, line.outlet)] : []), ": "] : [];
  $("preview").replaceChildren(...lead, el("bdi", {}, line.headline));
}

let pause = 0;

/** Show recent lines that say nearly the same, once the writer pauses. It only suggests: no trouble here is shown. */
function compare() {
  clearTimeout(pause);
  pause = setTimeout(async () => {
    const { headline } = filled();
    const ask = [...headline].length >= 8;
    const { items } = ask ? await call("POST", "/desk/similar", { edition: about.edition, headline }).catch(() => ({ items: [] })) : { items: [] };
    if (headline !== filled().headline) return;
    const lines = items.map(({ headline, state, changedAt }) =>
      el("li", {}, el("strong", {}, "Similar: "), el("bdi", { lang: about.language }, headline), ` · ${state}, ${new Date(changedAt).toLocaleTimeString()}`));
    $("similar").replaceChildren(...lines);
    $("similar").hidden = !lines.length;
  }, 300);
}

function keep() {
  attempt = null;
  $("done").textContent = "";
  save();
  show();
  compare();
}

function restore() {
  try {
    const { values, attempt: before } = JSON.parse(sessionStorage.getItem(KEPT) ?? '{"values": []}');
    attempt = before;
    [...compose.elements].filter(({ name }) => name).forEach((field, place) => {
      if (place >= values.length) return;
      if (["radio", "checkbox"].includes(field.type)) field.checked = values[place];
      else field.value = values[place];
    });
  } catch {
    sessionStorage.removeItem(KEPT);
  }
  show();
}

function complain(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

let sending = false;

async function send(state) {
  if (sending) return;
  const line = filled();
  complain("");
  if (!line.headline) {
    complain("Expected a headline, got none.");
    $("headline").focus();
    return;
  }
  sending = true;
  try {
    if (state === "live" && line.urgency === 1) {
      const { connected } = await look();
      const text = `“${line.headline}” goes to ${connected} connected ${connected === 1 ? "screen" : "screens"} of ${about.name}${line.embargoedUntil ? `, at ${new Date(line.embargoedUntil).toLocaleString()}` : ", now"}.`;
      if (!(await ask({ title: `Flash in ${about.name}`, text, yes: "Publish flash", run: async () => {} }))) return;
    }
    for (const button of compose.querySelectorAll("button")) button.disabled = true;
    attempt ??= fresh();
    save();
    const answer = await call("POST", "/v1/items", { ...line, state }, { key: `${attempt}-${state}` });
    compose.reset();
    sessionStorage.removeItem(KEPT);
    attempt = null;
    show();
    compare();
    $("done").textContent = { live: "Published.", embargoed: "Accepted: public when its embargo ends.", draft: "Saved as draft." }[answer.state] ?? answer.state;
    await refresh();
  } catch (error) {
    complain(error.message);
  } finally {
    sending = false;
    for (const button of compose.querySelectorAll("button")) button.disabled = false;
    $("headline").focus();
  }
}

compose.addEventListener("input", keep);
compose.addEventListener("submit", (event) => {
  event.preventDefault();
  if (about.publishes) send("live");
});
compose.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing) return;
  if (event.ctrlKey || event.metaKey) {
    event.preventDefault();
    if (!event.repeat) send(about.publishes ? "live" : "draft");
  } else if (event.target.id === "headline" || event.target.type === "text" || event.target.type === "url") {
    // One line, and no line on the air by a slip of the finger.
    event.preventDefault();
  }
});
$("draft").addEventListener("click", () => send("draft"));
$("ask-line").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing) return;
  event.preventDefault();
  if (!event.repeat) event.target.form.requestSubmit();
});

// A question before it is done --------------------------------------------------------------------------------------

/** Ask; `run` does it and may refuse, which is shown while the question stays open. True once it is done. */
function ask({ title, text, yes, note, line, run }) {
  const dialog = $("ask");
  $("ask-title").textContent = title;
  $("ask-text").textContent = text;
  $("ask-yes").textContent = yes;
  $("ask-note-field").hidden = !note;
  $("ask-note-label").textContent = note ?? "";
  $("ask-line-field").hidden = line === undefined;
  $("ask-line").value = line ?? "";
  $("ask-note").value = "";
  $("ask-trouble").hidden = true;
  return new Promise((resolve) => {
    const over = new AbortController();
    const { signal } = over;
    let done = false;
    dialog.addEventListener("close", () => (over.abort(), resolve(done)), { signal });
    $("ask-no").addEventListener("click", () => dialog.close(), { signal });
    dialog.querySelector("form").addEventListener("submit", async (event) => {
      event.preventDefault();
      const given = $("ask-note").value.trim();
      $("ask-trouble").hidden = true;
      if (note && !given) {
        $("ask-trouble").textContent = `Expected: ${note.toLowerCase()}.`;
        $("ask-trouble").hidden = false;
        $("ask-note").focus();
        return;
      }
      $("ask-yes").disabled = true;
      try {
        await run(given, $("ask-line").value.trim());
        done = true;
        dialog.close();
      } catch (error) {
        $("ask-trouble").textContent = error.message;
        $("ask-trouble").hidden = false;
      } finally {
        $("ask-yes").disabled = false;
      }
    }, { signal });
    dialog.showModal();
    if (line !== undefined) $("ask-line").focus();
    else if (note) $("ask-note").focus();
  });
}

async function act(item, action) {
  const line = item.item;
  const title = `${action[0].toUpperCase()}${action.slice(1)}`;
  const key = fresh();
  const address = `/v1/items/${encodeURIComponent(item.id)}`;
  const does = (note) => call("POST", `${address}/${action}`, note ? { note } : {}, { version: action === "kill" ? null : item.version, key });
  try {
    if (action === "kill") {
      await ask({ title: "Kill", text: `“${line.headline}” is retracted for good, on every screen, and its text is deleted.`, yes: "Kill", note: "The reason, for the audit log", run: does });
    } else if (action === "correct") {
      const change = (note, headline) => call("PATCH", address, { change: "correct", headline, note }, { version: item.version, key: fresh() });
      await ask({ title: "Correct", text: "Readers see the note.", yes: "Correct", note: "The public note", line: line.headline, run: change });
    } else if (action === "edit") {
      const change = (_, headline) => call("PATCH", address, { change: "update", headline }, { version: item.version, key: fresh() });
      const text = item.state === "live" ? "New facts: readers get the new text, without a note. What was wrong is put right with “correct”." : "Only the newsroom sees this yet.";
      await ask({ title: "Edit", text, yes: "Save", line: line.headline, run: change });
    } else if (action === "publish" && line.urgency === 1) {
      const { connected } = await look();
      await ask({ title: `Flash in ${about.name}`, text: `“${line.headline}” goes to ${connected} connected screens of ${about.name}.`, yes: "Publish flash", run: does });
    } else {
      await does();
    }
    complain("");
  } catch (error) {
    complain(`${title}: ${error.message}`);
  }
  await refresh();
}

// The board ---------------------------------------------------------------------------------------------------------

const rows = new Map();

function draw(item) {
  const line = item.item;
  const text = el("p", { class: "text", lang: line?.language ?? about.language, dir: about.direction });
  if (line) text.append(...(line.speaker ? [el("bdi", { class: "lead" }, line.speaker), ": "] : []), el("bdi", {}, line.headline));
  else text.append(el("span", { lang: "en", dir: "ltr" }, `killed by ${item.changedBy}: ${item.note ?? "no reason given"}`));
  const marks = el("p", { class: "marks" }, el("span", { class: "mark" }, `${SHAPES[item.state]} ${item.state}`));
  if (line) marks.append(el("span", {}, about.urgency[line.urgency - 1]));
  if (line?.pinned) marks.append(el("span", {}, "pinned"));
  const moment = new Date(item.changedAt);
  marks.append(el("time", { datetime: item.changedAt, title: item.changedAt }, moment.toLocaleTimeString()), el("bdi", {}, item.changedBy));
  if (item.embargoedUntil) marks.append(el("span", {}, `until ${new Date(item.embargoedUntil).toLocaleString()}`));
  marks.append(el("span", { class: "reach" }));
  const own = about.publishes || ["draft", "submitted"].includes(item.state);
  const allowed = (action) => (["edit", "correct"].includes(action) ? own : about.allowed.includes(action));
  const fits = (action) => !(action === "pin" && line?.pinned) && !(action === "unpin" && !line?.pinned);
  const buttons = ACTIONS[item.state].filter((action) => allowed(action) && fits(action));
  const actions = el("div", { class: "actions", role: "group", "aria-label": `Actions for ${line?.headline ?? item.id}` });
  for (const action of buttons) {
    const button = el("button", { type: "button", "data-action": action }, action);
    button.addEventListener("click", () => act(item, action));
    actions.append(button);
  }
  return el("li", { "data-id": item.id, "data-state": item.state }, marks, text, actions);
}

function reachOf(item) {
  if (!item.reach) return "";
  const { screens, confirmed } = item.reach;
  if (item.state === "killed") return `still on ${Math.max(0, screens - confirmed)} of ${screens} screens`;
  return item.state === "live" ? `on ${confirmed} of ${screens} screens` : "";
}

function arrange({ items, connected }) {
  $("audience").textContent = `${connected} ${connected === 1 ? "screen" : "screens"} connected`;
  const list = $("items");
  const wanted = new Set(items.map(({ id }) => id));
  for (const [id, { node }] of rows) if (!wanted.has(id)) (node.remove(), rows.delete(id));
  items.forEach((item, place) => {
    const before = rows.get(item.id);
    let node = before?.node;
    if (before?.rev !== item.rev) {
      const action = node?.contains(document.activeElement) ? document.activeElement.dataset.action : null;
      const fresh = draw(item);
      node?.replaceWith(fresh);
      node = fresh;
      rows.set(item.id, { node, rev: item.rev });
      // Who acts by keyboard stays on the line, also when the button that they pressed is gone.
      if (action) (fresh.querySelector(`[data-action="${action}"]`) ?? fresh.querySelector("button") ?? $("headline")).focus();
    }
    const reach = node.querySelector(".reach");
    if (reach.textContent !== reachOf(item)) reach.textContent = reachOf(item);
    if (list.children[place] !== node) list.insertBefore(node, list.children[place] ?? null);
  });
}

async function look() {
  const response = await fetch(`/desk/board?edition=${encodeURIComponent(about.edition)}`, { signal: AbortSignal.timeout(8000) });
  if (!response.ok) throw new Refusal(response.status === 401 ? "signed out: sign in again" : `no board: ${response.status}`);
  return response.json();
}

let looking = null;
let again = false;

/** Show what is so now. Asked for while one is under way, it is asked once more after that. */
function refresh() {
  if (looking) {
    again = true;
    return looking;
  }
  looking = (async () => {
    try {
      arrange(await look());
      tell(true, `as of ${new Date().toLocaleTimeString()}`);
    } catch (error) {
      tell(false, `not up to date: ${error.message}`);
    }
    looking = null;
    if (again) {
      again = false;
      await refresh();
    }
  })();
  return looking;
}

function tell(live, text) {
  const node = $("state");
  node.dataset.live = live;
  node.setAttribute("aria-live", live ? "off" : "polite");
  node.textContent = text;
}

/** Looked at, not listened to: a reader's socket would count the desk among the screens. */
function watch() {
  setTimeout(() => refresh().finally(watch), document.hidden ? HIDDEN_MS : POLL_MS);
}

document.addEventListener("visibilitychange", () => document.hidden || refresh());
restore();
refresh();
watch();
