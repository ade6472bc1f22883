// Stream: an edition's board, live; where it cannot be heard, the same is asked for once a second. A hidden page holds no
// connection: a browser has six to a host, and somebody with seven desks open would wait for ever.

const POLL_MS = 1000;
const AGAIN_MS = 1500;
const SILENCE_MS = 12_000; // beats come every 5 s: after this long the connection is dead, whatever TCP says
const POLLS = 10; // asked so often before the stream is tried again
const ANSWER_MS = 8000;
const ENDED = "signed out: sign in again";

export class Stream {
  #query;
  #hear;
  #tell;
  #source = null;
  #timer = 0;
  #silence = 0;

  /**
   * `hear(board, at)` gets the board whenever it changed, its `rows` only those that did; `at` is the service's time in
   * ms, 0 if it is not known. `tell(live, text)` says whether that can be relied on.
   */
  constructor(edition, hear, tell) {
    this.#query = `?edition=${encodeURIComponent(edition)}`;
    this.#hear = hear;
    this.#tell = tell;
  }

  start() {
    this.#listen();
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.#listen();
      else {
        this.#close();
        this.#poll();
      }
    });
    addEventListener("offline", () => {
      this.#close();
      this.#tell(false, "not up to date: this computer is offline");
      this.#poll();
    });
    addEventListener("online", () => this.#listen());
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", ({ persisted }) => persisted && this.#listen());
  }

  /** Ask for the whole board now. */
  async look() {
    const response = await fetch(`/desk/board${this.#query}`, { signal: AbortSignal.timeout(ANSWER_MS) });
    if (!response.ok) throw new Error(response.status === 401 ? ENDED : `no board: ${response.status}`);
    const board = await response.json();
    this.#take(board, Date.parse(response.headers.get("date")) || 0);
    return board;
  }

  #take(board, at) {
    this.#hear(board, at);
    this.#tell(true, this.#source ? "live" : `as of ${new Date().toLocaleTimeString()}`);
  }

  #poll(again = 1) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      async () => {
        try {
          await this.look();
          if (document.hidden || again > 1) this.#poll(again - 1);
          else this.#listen();
        } catch (error) {
          // A browser's own words for a network that is not there help nobody.
          this.#tell(false, `not up to date: ${error instanceof TypeError ? "the service does not answer" : error.message}`);
          this.#poll();
        }
      },
      document.hidden ? 10 * POLL_MS : POLL_MS,
    );
  }

  #listen() {
    this.#close();
    const source = new EventSource(`/desk/stream${this.#query}`);
    this.#source = source;
    let heard = false;
    const lost = () => {
      if (source !== this.#source) return;
      this.#close();
      // One that never spoke is refused here, or kept back by a proxy: asking does for a while.
      if (!heard) return void this.#poll(POLLS);
      this.#tell(false, "not up to date: reconnecting…");
      this.#timer = setTimeout(() => this.#poll(), Math.random() * AGAIN_MS);
    };
    const expect = () => {
      clearTimeout(this.#silence);
      this.#silence = setTimeout(lost, SILENCE_MS);
    };
    const on = (name, does) =>
      source.addEventListener(name, (event) => {
        if (source !== this.#source) return;
        heard = true;
        expect();
        does(event);
      });
    on("board", ({ data, lastEventId }) => this.#take(JSON.parse(data), Number(lastEventId)));
    on("trouble", ({ data }) => (data ? this.#tell(false, `not up to date: ${data}`) : this.#tell(true, "live")));
    on("beat", () => {});
    on("ended", () => {
      this.#close();
      this.#tell(false, `not up to date: ${ENDED}`);
      this.#poll();
    });
    source.onerror = lost;
    expect();
  }

  #close() {
    clearTimeout(this.#timer);
    clearTimeout(this.#silence);
    this.#source?.close();
    this.#source = null;
  }
}
