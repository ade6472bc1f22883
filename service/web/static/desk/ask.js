// Ask: a question before what cannot be taken back.

import { $, about } from "./about.js";

/**
 * Ask; `run(note, everywhere)` does it and may refuse, which is shown while the question stays open. `note` is what must
 * be written, `also` a box that is ticked unless somebody unticks it. True once it is done.
 */
export function ask({ title, text, yes, note, also, run }) {
  const dialog = $("ask");
  $("ask-title").textContent = title;
  $("ask-text").textContent = text;
  $("ask-yes").textContent = yes;
  $("ask-note-field").hidden = !note;
  $("ask-note-label").textContent = note ?? "";
  $("ask-note").value = "";
  $("ask-also-field").hidden = !also;
  $("ask-also-label").textContent = also ?? "";
  $("ask-also").checked = Boolean(also);
  $("ask-yes").hidden = false;
  complain("");
  return new Promise((resolve) => {
    const over = new AbortController();
    const { signal } = over;
    let done = false;
    const end = () => {
      dialog.close();
      over.abort();
      resolve(done);
    };
    // Escape. The event comes late, behind what is pressed meanwhile: by then it may be the next question that is open.
    dialog.addEventListener("close", () => dialog.open || end(), { signal });
    $("ask-no").addEventListener("click", end, { signal });
    dialog.querySelector("form").addEventListener("submit", async (event) => {
      event.preventDefault();
      const given = $("ask-note").value.trim();
      complain("");
      if (note && !given) {
        complain(`Expected: ${note.toLowerCase()}.`);
        $("ask-note").focus();
        return;
      }
      $("ask-yes").disabled = true;
      try {
        await run(given, $("ask-also").checked);
        done = true;
        end();
      } catch (error) {
        complain(error.message);
        // What was asked about is no more: it must be looked at again.
        $("ask-yes").hidden = error.code === "stale-version";
      } finally {
        $("ask-yes").disabled = false;
      }
    }, { signal });
    dialog.showModal();
    (note ? $("ask-note") : $("ask-yes")).focus();
  });
}

/** Who is alone says why it cannot wait; the audit keeps it. `run(reason)` does it. */
export function override(headline, run) {
  return ask({
    title: "A second person is needed",
    text: `“${headline}” is one that somebody else approves in ${about.name} before it goes out. Alone is for emergencies: the audit log keeps your name and the reason for good.`,
    yes: "Go on alone",
    note: "Why it cannot wait",
    run,
  });
}

function complain(text) {
  $("ask-trouble").textContent = text;
  $("ask-trouble").hidden = !text;
}
