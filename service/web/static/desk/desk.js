// Desk: the only wiring of the page. Compose on one side, the board on the other, the stream between them.

import { $, about, complain } from "./about.js";
import { onDone } from "./actions.js";
import { call } from "./api.js";
import { arrange, onRetry, records, serviceNow } from "./board.js";
import { compose, known } from "./compose.js";
import { edit, noticed } from "./edit.js";
import { holds } from "./hold.js";
import { heard } from "./presence.js";
import { Stream } from "./stream.js";

function tell(live, text) {
  const node = $("state");
  node.dataset.live = live;
  node.setAttribute("aria-live", live ? "off" : "polite");
  node.textContent = text;
}

function hear(board, at) {
  heard(board.open);
  arrange(board, at);
  holds(records(), serviceNow);
  noticed(records());
  known(board);
}

const stream = new Stream(about.edition, hear, tell);
const refresh = () => stream.look().catch(() => {});

onDone(refresh);
onRetry(async (id) => {
  try {
    await call("POST", `/desk/jobs/${encodeURIComponent(id)}/retry`);
    await refresh();
  } catch (error) {
    complain(`Retry: ${error.message}`);
  }
});
stream.start();
compose(() => stream.look());

// A link from a sister's desk opens the line here.
const wanted = new URLSearchParams(location.search).get("correct");
if (wanted) {
  history.replaceState(null, "", location.pathname + location.search.replace(/&?correct=[^&]*/, ""));
  edit(wanted, "edit").catch((error) => complain(error.message));
}
$("headline").focus();
