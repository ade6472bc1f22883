// Ticker: the readers' page. The socket in (docs/protocol.md), lines on the screen, acks out.
// One Ticker for each <section data-edition>; the server has already drawn its lines up to data-cursor.
// Text from outside becomes text nodes only, never markup.

import { direction, draw, el, hour, localise } from "./line.js";

const PROTOCOL = "stoppress.v1";
const FIRST_WAIT_MS = 500; // before reconnecting: full jitter under a cap that doubles from here…
const LAST_WAIT_MS = 30_000; // …to here
const STEADY_MS = 10_000; // a connection that lived this long was a good one
const SILENCE_MS = 45_000; // beats come every 20 s or so: after this long the connection is dead, whatever TCP says
const HANDSHAKE_MS = 15_000;
const LONG_WAIT_MS = 2_000; // a reader who comes back to the tab is not made to wait longer than this
const STALE_MS = 10_000; // without a connection for this long, the page says of when its lines are
const HELD_MS = 250; // acks are held back by chance up to this long: a million must not arrive at once
const ANNOUNCE_MS = 1_000; // new lines within it are read out together…
const ANNOUNCED = 3; // …the newest few of them, the rest as a number
const FORGET_MS = 30_000; // then the announcer falls silent, so that nobody browses into old text
const PRUNE_MS = 15_000;
const KEPT = 200; // lines in memory beyond those shown; the oldest go first
const GONE = 500; // removed ids remembered, so that nothing brings an older version back

// Lines in memory ---------------------------------------------------------------------------------------------------

/** What is known of a line that the server drew; `node` is drawn for the others when they are first shown. */
function lineOfNode(node) {
  const { id, version, pinned, published, expires } = node.dataset;
  return { id, version: Number(version), pinned: pinned === "true", publishedAt: published, expires, node };
}

function lineOfItem(item) {
  const { id, version, pinned, publishedAt, expires } = item;
  return { id, version, pinned: Boolean(pinned), publishedAt, expires, item };
}

/** A ticker's order: pinned first, then newest. The times are all written alike, so that they compare as text. */
function byPlace(a, b) {
  if (a.pinned !== b.pinned) return a.pinned ? -1 : 1;
  if (a.publishedAt !== b.publishedAt) return a.publishedAt > b.publishedAt ? -1 : 1;
  return a.id > b.id ? -1 : 1;
}

// Announcer ---------------------------------------------------------------------------------------------------------

/** Tells screen readers what is new, politely and together. One for the page, whatever the number of tickers. */
class Announcer {
  #region;
  #waiting = new Map();
  #timer = 0;
  #silence = 0;

  constructor(region) {
    this.#region = region;
  }

  say(key, node, words) {
    node.dataset.key = key;
    this.#waiting.delete(key); // said again, it is the newest
    this.#waiting.set(key, { node, words });
    this.#timer ||= setTimeout(() => this.#speak(), ANNOUNCE_MS);
  }

  /** Take back what was said or is about to be: a killed line stays nowhere on the page. */
  forget(key) {
    this.#waiting.delete(key);
    for (const node of [...this.#region.children]) if (node.dataset.key === key) node.remove();
  }

  #speak() {
    this.#timer = 0;
    const all = [...this.#waiting.values()].reverse();
    this.#waiting.clear();
    const said = all.slice(0, ANNOUNCED).map(({ node }) => node);
    if (all.length > ANNOUNCED) {
      const { words } = all[ANNOUNCED];
      said.push(el("p", { lang: words.language }, words.more.replace("{n}", all.length - ANNOUNCED)));
    }
    this.#region.replaceChildren(...said);
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#region.replaceChildren(), FORGET_MS);
  }
}

// Acks --------------------------------------------------------------------------------------------------------------

/** Confirms what is on the screen: after it was painted, in a visible tab, the newest cursor for all before it. */
class Acks {
  #send;
  #owed = "";
  #painted = "";
  #paintedAt = 0;
  #painting = false;
  #timer = 0;

  constructor(send) {
    this.#send = send;
  }

  owe(cursor) {
    this.#owed = cursor;
    this.look();
  }

  /** Wait for the paint of what is owed; a hidden tab paints nothing, and is asked again once it is visible. */
  look() {
    if (!this.#owed || this.#painting) return;
    const cursor = this.#owed;
    this.#painting = true;
    // The first frame's callback runs before its paint, the second's after it.
    requestAnimationFrame(() =>
      requestAnimationFrame(() => {
        this.#painting = false;
        if (document.hidden) return;
        if (this.#owed === cursor) this.#owed = "";
        this.#painted = cursor;
        this.#paintedAt = performance.now();
        this.#timer ||= setTimeout(() => this.#settle(), Math.random() * HELD_MS);
        this.look();
      }),
    );
  }

  #settle() {
    this.#timer = 0;
    const held = Math.round(performance.now() - this.#paintedAt);
    this.#send({ type: "ack", cursor: this.#painted, held });
  }
}

// Wire --------------------------------------------------------------------------------------------------------------

/** One edition's socket: opens it by cursor, notices when it is dead, opens it again. */
class Wire {
  #address;
  #ticker;
  #socket = null;
  #openedAt = 0;
  #heardAt = 0;
  #failures = 0; // in a row; sets the backoff
  #unopened = 0; // attempts in a row that ended before they were open: a refusal looks like that from here
  #timer = 0;
  #due = 0;
  #watch = 0;

  constructor(edition, ticker) {
    this.#address = new URL(`/v1/editions/${encodeURIComponent(edition)}/socket`, location.href);
    this.#address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    this.#ticker = ticker;
  }

  open() {
    this.stop();
    const address = new URL(this.#address);
    // Every third time without the cursor, in case it is the cursor that is refused.
    if (this.#ticker.cursor && this.#unopened % 3 !== 2) address.searchParams.set("cursor", this.#ticker.cursor);
    this.#unopened += 1;
    const socket = new WebSocket(address, PROTOCOL);
    this.#socket = socket;
    this.#expect(HANDSHAKE_MS);
    // Events of a socket that was given up arrive late; they must not touch its successor.
    socket.onopen = () => {
      if (socket !== this.#socket) return;
      this.#unopened = 0;
      this.#openedAt = Date.now();
      this.#expect(SILENCE_MS);
    };
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      this.#expect(SILENCE_MS);
      this.#receive(data);
    };
    socket.onclose = ({ code, reason }) => {
      if (socket === this.#socket) this.#lost(code, reason);
    };
  }

  stop() {
    clearTimeout(this.#timer);
    clearTimeout(this.#watch);
    const socket = this.#socket;
    this.#timer = this.#openedAt = 0;
    this.#socket = null;
    socket?.close(1000);
  }

  send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  /** The network is back: try now. */
  online() {
    if (!this.#socket) this.open();
  }

  /** The reader looks at the page again: do not make them wait, and do not trust a socket that slept. */
  visible() {
    const now = Date.now(); // unlike performance.now() it goes on while the machine sleeps
    if (this.#socket ? this.#openedAt && now - this.#heardAt > SILENCE_MS : this.#due - now > LONG_WAIT_MS) this.open();
  }

  #expect(within) {
    this.#heardAt = Date.now();
    clearTimeout(this.#watch);
    this.#watch = setTimeout(() => {
      const socket = this.#socket;
      this.#socket = null;
      socket.close(); // says goodbye to nobody for minutes, so its end is not waited for
      this.#lost(1006, "");
    }, within);
  }

  #receive(data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return;
    }
    if (message?.type === "notice") {
      // The old connection stays until then: nothing is missed by waiting.
      if (message.code === "draining") this.#later(Math.random() * bounded(message.retryIn));
      return;
    }
    // A greeting alone proves nothing: a service that greets and falls over must not be called twice a second.
    if (["item", "remove", "beat"].includes(message?.type)) this.#failures = 0;
    this.#ticker.receive(message);
  }

  #lost(code, reason) {
    clearTimeout(this.#watch);
    if (this.#openedAt && Date.now() - this.#openedAt >= STEADY_MS) this.#failures = 0;
    this.#socket = null;
    this.#openedAt = 0;
    this.#ticker.lost();
    // A draining notice may have said when. Who is closed before that gains nothing by waiting as long.
    const due = this.#timer ? this.#due - Date.now() : Infinity;
    let cap = Math.min(LAST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#failures);
    this.#failures += 1;
    if (code === 1012) cap = bounded(/\d+/.exec(reason)?.[0] ?? cap); // draining; the reason says how soon
    if ([1008, 1009, 1013].includes(code)) cap = LAST_WAIT_MS; // misuse or overload: at once would make it worse
    this.#later(Math.max(0, Math.min(due, Math.random() * cap)));
  }

  #later(wait) {
    clearTimeout(this.#timer);
    this.#due = Date.now() + wait;
    this.#timer = setTimeout(() => this.open(), wait);
  }
}

/** The part of a cursor that changes when the log was lost or restored. */
function epoch(cursor) {
  return cursor.split(".")[0];
}

/** A wait that the service asked for, in milliseconds, but never one that a reader would take for the end. */
function bounded(wait) {
  return Math.min(Math.max(Number(wait) || 0, FIRST_WAIT_MS), 2 * LAST_WAIT_MS);
}

// Ticker ------------------------------------------------------------------------------------------------------------

class Ticker {
  cursor;
  #section;
  #list;
  #empty;
  #state;
  #words;
  #size;
  #announcer;
  #wire;
  #acks;
  #lines = new Map();
  #gone = new Map();
  #liveAt;
  #skew = 0; // the service's clock minus ours, by the latest beat
  #stale = 0;
  #today = new Date().toDateString();

  constructor(section, announcer) {
    const { edition, cursor, size, asOf, words } = section.dataset;
    this.cursor = cursor;
    this.#section = section;
    this.#list = section.querySelector(".lines");
    this.#empty = section.querySelector(".empty");
    this.#state = section.querySelector(".state");
    this.#words = JSON.parse(words);
    this.#size = Number(size);
    this.#announcer = announcer;
    this.#liveAt = new Date(asOf);
    this.#wire = new Wire(edition, this);
    this.#acks = new Acks((ack) => this.#wire.send(ack));
    for (const node of this.#list.children) this.#lines.set(node.dataset.id, lineOfNode(node));
    this.#localise();
    if (cursor) this.#show("stale", this.#words.asOf, this.#liveAt);
    this.#list.addEventListener("animationend", ({ target }) => target.classList.remove("new"));
    setInterval(() => this.#prune(), PRUNE_MS);
    this.#wire.open();
  }

  receive(message) {
    switch (message?.type) {
      case "snapshot":
        this.#replace(message.items, message.cursor);
        break;
      case "resumed":
        break;
      case "item":
        this.#insert(message.item);
        break;
      case "remove":
        this.#remove(message.id, message.version);
        break;
      case "beat":
        this.#skew = Date.parse(message.at) - Date.now() || 0;
        break;
      case "behind":
        this.#reached();
        this.#show("behind", this.#words.behind, new Date(message.since));
        return;
      default: // a later protocol may say more; what this page does not know, it does not need
        return;
    }
    if (message.cursor) this.cursor = message.cursor;
    this.#live();
    if (message.type !== "beat") this.#acks.owe(this.cursor);
  }

  /** The connection is gone. For a moment that is nobody's concern; then the page says how old it is. */
  lost() {
    if (this.#stale) return; // said already, or about to be
    if (this.#state.dataset.state !== "behind") this.#show("reconnecting", this.#words.reconnecting);
    this.#stale = setTimeout(() => {
      if (this.cursor) this.#show("stale", this.#words.asOf, this.#liveAt);
    }, STALE_MS);
  }

  visible() {
    this.#wire.visible();
    this.#acks.look();
  }

  online() {
    this.#wire.online();
  }

  stop() {
    this.#wire.stop();
  }

  start() {
    this.#wire.open();
  }

  #live() {
    this.#liveAt = new Date();
    this.#reached();
    this.#show("live", this.#words.live);
    const today = new Date().toDateString();
    if (this.#today !== today) {
      this.#today = today;
      this.#localise();
    }
  }

  #reached() {
    clearTimeout(this.#stale);
    this.#stale = 0;
  }

  #show(state, text, moment) {
    const written = moment && !Number.isNaN(moment.getTime()) ? hour(moment, this.#words.language) : "";
    const said = text.replace("{time}", written);
    if (this.#state.dataset.state === state && this.#state.textContent === said) return;
    this.#state.dataset.state = state;
    this.#state.textContent = said;
    const key = this.#key(""); // no line has this id
    if (state === "behind") this.#announcer.say(key, el("p", { lang: this.#words.language }, said), this.#words);
    else this.#announcer.forget(key);
  }

  #replace(items, cursor) {
    const before = this.#lines;
    this.#gone.clear();
    this.#lines = new Map(items.map((item) => [item.id, lineOfItem(item)]));
    // A version is the same text only within one epoch: a restored log may have given it to another.
    const comparable = epoch(cursor) === epoch(this.cursor);
    for (const [id, old] of before) {
      const line = this.#lines.get(id);
      if (!line) this.#announcer.forget(this.#key(id));
      else if (comparable && line.version === old.version) line.node = old.node;
    }
    this.#arrange(before);
  }

  #insert(item) {
    const held = this.#lines.get(item.id);
    if (held && held.version >= item.version) return;
    if (this.#gone.get(item.id) >= item.version) return;
    this.#gone.delete(item.id);
    const line = lineOfItem(item);
    line.fresh = !held;
    const before = held ? new Map([[item.id, held]]) : undefined;
    this.#lines.set(item.id, line);
    this.#announcer.forget(this.#key(item.id));
    this.#arrange(before);
    if (line.fresh && line.node?.isConnected) this.#announce(item);
    line.fresh = false;
  }

  #remove(id, version) {
    this.#gone.delete(id);
    this.#gone.set(id, version);
    if (this.#gone.size > GONE) this.#gone.delete(this.#gone.keys().next().value);
    this.#announcer.forget(this.#key(id));
    if (this.#lines.delete(id)) this.#arrange();
  }

  /** While the service cannot say so, what is over leaves by itself. */
  #prune() {
    if (this.#state.dataset.state === "live") return;
    const now = Date.now() + this.#skew;
    const over = [...this.#lines.values()].filter(({ expires }) => Date.parse(expires) <= now);
    for (const { id } of over) this.#lines.delete(id);
    if (over.length) this.#arrange();
  }

  #announce(item) {
    const speaker = item.speaker ? `${item.speaker}: ` : "";
    const text = `${this.#words.urgency[item.urgency - 1]}. ${speaker}${item.headline}`;
    const node = el("p", { lang: item.language, dir: direction(item.language) }, text);
    this.#announcer.say(this.#key(item.id), node, this.#words);
  }

  #key(id) {
    return `${this.#section.dataset.edition} ${id}`;
  }

  /** Make the page show the first `size` lines, touching no more of it than changed. `before`: lines just replaced. */
  #arrange(before = new Map()) {
    const order = [...this.#lines.values()].sort(byPlace);
    for (const { id } of order.slice(this.#size + KEPT)) this.#lines.delete(id);
    const shown = order.slice(0, this.#size);

    const focused = document.activeElement;
    const focus = this.#list.contains(focused) ? focused : null;
    let heir = null;
    for (const line of shown) {
      if (!line.node) {
        line.node = draw(line.item, this.#words);
        if (line.fresh) line.node.classList.add("new");
      }
      const old = before.get(line.id)?.node;
      if (old === line.node || !old?.isConnected) continue;
      if (old.contains(focus)) heir = this.#heir(old, line.node, focus);
      old.replaceWith(line.node);
    }
    const wanted = new Set(shown.map(({ node }) => node));
    for (const node of [...this.#list.children]) if (!wanted.has(node)) node.remove();
    shown.forEach(({ node }, place) => {
      if (this.#list.children[place] !== node) this.#list.insertBefore(node, this.#list.children[place] ?? null);
    });

    // A reader's focus stays where it is, also when its line was moved or drawn anew.
    const keeper = heir ?? focus;
    if (keeper?.isConnected && document.activeElement !== keeper) keeper.focus({ preventScroll: true });
    this.#list.hidden = !shown.length;
    this.#empty.hidden = Boolean(shown.length);
    this.#empty.textContent = this.#words.empty;
  }

  /** The element of a redrawn line that stands where the focused one stood. */
  #heir(old, fresh, focused) {
    const place = [...old.getElementsByClassName(focused.className)].indexOf(focused);
    return fresh.getElementsByClassName(focused.className)[place] ?? null;
  }

  #localise() {
    for (const time of this.#list.querySelectorAll("time")) localise(time, this.#words.language);
  }
}

// The page ----------------------------------------------------------------------------------------------------------

const announcer = new Announcer(document.querySelector(".announcer"));
const tickers = [...document.querySelectorAll("section[data-edition]")].map((node) => new Ticker(node, announcer));
const each = (act) => () => tickers.forEach(act);

addEventListener("online", each((ticker) => ticker.online()));
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) tickers.forEach((ticker) => ticker.visible());
});
// A page kept for the back button has no business with a socket; when it is shown again it goes on from its cursor.
addEventListener("pagehide", each((ticker) => ticker.stop()));
addEventListener("pageshow", ({ persisted }) => {
  if (persisted) tickers.forEach((ticker) => ticker.start());
});
