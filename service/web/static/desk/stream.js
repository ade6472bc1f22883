// Stream: the desk's own live stream; where it cannot be heard, the same is asked for once a second. A hidden page holds
// no connection: a browser has six to a host, and somebody with seven desks open would wait for ever.

import { $, about } from "./about.js";

const POLL_MS = 1000;
const AGAIN_MS = 1500;
const SILENCE_MS = 12_000; // beats come every 5 s: after this long the connection is dead, whatever TCP says
const POLLS = 10; // asked so often before the stream is tried again
const ENDED = "signed out: sign in again";

let source = null;
let timer = 0;
let silence = 0;
let board = { order: [], rows: [], air: [], connected: 0 };
let hear = () => {};

function tell(live, text) {
  const node = $("state");
  node.dataset.live = live;
  node.setAttribute("aria-live", live ? "off" : "polite");
  node.textContent = text;
}

function take(next, at) {
  board = next;
  hear(board, at);
  tell(true, source ? "live" : `as of ${new Date().toLocaleTimeString()}`);
}

/** Ask for the whole board now. */
export async function look() {
  const response = await fetch(`/desk/board?edition=${encodeURIComponent(about.edition)}`, { signal: AbortSignal.timeout(8000) });
  if (!response.ok) throw new Error(response.status === 401 ? ENDED : `no board: ${response.status}`);
  const next = await response.json();
  take(next, Date.parse(response.headers.get("date")) || 0);
  return next;
}

function poll(again = 1) {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    try {
      await look();
      if (document.hidden || again > 1) poll(again - 1);
      else listen();
    } catch (error) {
      tell(false, `not up to date: ${error.message}`);
      poll();
    }
  }, document.hidden ? 10 * POLL_MS : POLL_MS);
}

function listen() {
  close();
  source = new EventSource(`/desk/stream?edition=${encodeURIComponent(about.edition)}`);
  const mine = source;
  let heard = false;
  const expect = () => {
    clearTimeout(silence);
    silence = setTimeout(mine.onerror, SILENCE_MS);
  };
  const on = (name, does) =>
    mine.addEventListener(name, (event) => {
      if (mine !== source) return;
      heard = true;
      expect();
      does(event);
    });
  on("board", ({ data, lastEventId }) => take(JSON.parse(data), Number(lastEventId)));
  on("trouble", ({ data }) => (data ? tell(false, `not up to date: ${data}`) : tell(true, "live")));
  on("beat", () => {});
  on("ended", () => {
    close();
    tell(false, `not up to date: ${ENDED}`);
    poll();
  });
  mine.onerror = () => {
    if (mine !== source) return;
    close();
    // One that never spoke is refused here, or kept back by a proxy: asking does for a while.
    if (!heard) return void poll(POLLS);
    tell(false, "not up to date: reconnecting…");
    timer = setTimeout(poll, Math.random() * AGAIN_MS);
  };
  expect();
}

function close() {
  clearTimeout(timer);
  clearTimeout(silence);
  source?.close();
  source = null;
}

/** Begin: `hears(board, at)` gets the board whenever it changed; `at` is the service's time in ms, 0 if not known. */
export function stream(hears) {
  hear = hears;
  listen();
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) listen();
    else {
      close();
      poll();
    }
  });
  addEventListener("offline", () => {
    close();
    tell(false, "not up to date: this computer is offline");
    poll();
  });
  addEventListener("online", listen);
  addEventListener("pagehide", close);
  addEventListener("pageshow", ({ persisted }) => persisted && listen());
}
