// Wall: the newsroom's big screen. What is on the air and what is about to be, in every edition; nothing to press.

import { $, SHAPES, about, el, left } from "./about.js";
import { chart } from "./chart.js";
import { Stream } from "./stream.js";

const TICK_MS = 500;

class Edition {
  #records = new Map();
  #order = [];
  #skew = 0;

  constructor({ code, name, language, direction }) {
    this.state = el("p", { class: "state", role: "status" }, "connecting…");
    this.audience = el("p", { class: "audience" }, "…");
    this.lines = el("ol", { role: "list", lang: language, dir: direction });
    this.next = el("ol", { role: "list", class: "next", lang: language, dir: direction });
    this.works = el("p", { class: "works" });
    const title = el("h2", { id: `wall-${code}`, lang: language }, el("bdi", {}, name));
    $("wall").append(el("section", { "aria-labelledby": title.id, "data-edition": code }, el("header", {}, title, this.audience, this.state), this.lines, this.next, this.works));
    new Stream(code, (board, at) => this.hear(board, at), (live, text) => this.tell(live, text)).start();
  }

  tell(live, text) {
    this.state.dataset.live = live;
    this.state.textContent = text;
  }

  hear(board, at) {
    if (at) this.#skew = at - Date.now();
    for (const record of board.rows) this.#records.set(record.id, record);
    for (const id of this.#records.keys()) if (!board.order.includes(id)) this.#records.delete(id);
    this.#order = board.order;
    this.audience.replaceChildren(el("strong", {}, String(board.connected)), ` ${board.connected === 1 ? "screen" : "screens"}`);
    const air = board.air.map(({ id }) => this.#records.get(id)).filter(Boolean);
    // What was killed of late stays until no screen shows it any more.
    const dying = [...this.#records.values()].filter(({ state, reach }) => state === "killed" && reach && reach.confirmed < reach.screens);
    this.lines.replaceChildren(...dying.map((each) => this.draw(each)), ...air.map((each) => this.draw(each)));
    this.tick();
    const troubles = [board.outbox && `outbox: ${board.outbox} waiting`, board.jobs.failures && `failed jobs: ${board.jobs.failures}`].filter(Boolean);
    this.works.textContent = troubles.join(" · ");
  }

  draw(record) {
    const { item: line, state, reach } = record;
    const killed = state === "killed";
    const text = killed
      ? el("p", { class: "text", lang: "en", dir: "ltr" }, "killed: still on some screens")
      : el("p", { class: "text" }, ...(line.speaker ? [el("bdi", { class: "lead" }, line.speaker), ": "] : []), el("bdi", {}, line.headline));
    const counted = reach ? (killed ? `${reach.screens - reach.confirmed} left of ${reach.screens}` : `${reach.confirmed} of ${reach.screens}`) : "";
    const way = el("p", { class: "way", lang: "en", dir: "ltr" }, `${SHAPES[state]} ${killed ? "killed" : about.urgency[line.urgency - 1]} · `, el("span", { class: "reach" }, counted));
    if (record.hops?.confirmed) way.append(" ", chart(record.hops.curve, reach?.screens ?? 0), ` 99 % in ${record.hops.p99} ms`);
    return el("li", { "data-id": record.id, "data-state": state, "data-urgency": line?.urgency ?? 1 }, text, way);
  }

  /** What is about to go out, the next first. */
  tick() {
    const now = Date.now() + this.#skew;
    const waiting = this.#order.map((id) => this.#records.get(id)).filter((record) => record && ["scheduled", "embargoed"].includes(record.state));
    const rows = waiting
      .map((record) => [Date.parse(record.embargoedUntil ?? record.publishAt), record])
      .sort(([a], [b]) => a - b)
      .map(([due, record]) => el("li", {}, el("span", { class: "due", lang: "en", dir: "ltr" }, `${SHAPES[record.state]} in ${left(due - now)}`), " ", el("bdi", {}, record.item.headline)));
    const words = rows.map(({ textContent }) => textContent).join("\n");
    if (this.next.dataset.words === words) return;
    this.next.dataset.words = words;
    this.next.replaceChildren(...rows);
  }
}

const editions = about.editions.map((each) => new Edition(each));
setInterval(() => {
  for (const edition of editions) edition.tick();
  $("clock").textContent = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}, TICK_MS);
