// API: the desk's calls. Changes go the same way as everybody's, with the proof that they come from this page.

import { about, calendar } from "./about.js";

const ANSWER_MS = 8000;
/** JSON paths of the API, as the form's fields and its words for them. */
const FIELDS = {
  "$.headline": ["headline", "Headline"], "$.speaker": ["speaker", "Speaker"], "$.outlet": ["outlet", "Outlet"], "$.link": ["link", "Link"],
  "$.section": ["section", "Section"], "$.expires": ["expires", "Expires"], "$.embargoedUntil": ["at", "Time"], "$.publishAt": ["at", "Time"], "$.note": [null, "Note"],
};
const INSTANT = /\d{4}-\d\d-\d\dT[\d:.]+Z/g;

/** What the service did not do, in words for the editor; its `code`, and the `field` at fault, where it said them. */
export class Refusal extends Error {
  constructor(text, { code, path } = {}) {
    const [field, label] = FIELDS[path] ?? [null, null];
    const said = text.replaceAll(INSTANT, calendar);
    super(label ? `${label}: ${said}` : said);
    this.code = code;
    this.field = field;
  }
}

/** Ask the API. The same `key` sent again is the same change, so that trying again is safe. */
export async function call(method, path, body, { version, key } = {}) {
  const headers = { "x-csrf-token": about.csrf };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (version) headers["if-match"] = `"${version}"`;
  if (key) headers["idempotency-key"] = key;
  let response;
  try {
    response = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(ANSWER_MS) });
  } catch {
    throw new Refusal("The service does not answer. Nothing that you typed is lost: try again.");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.status === 401) throw new Refusal("Your session has ended. Reload the page to sign in again: what you typed stays.", answer);
  if (!response.ok) {
    throw new Refusal(answer.detail ?? `The service refused: ${response.status}`, answer);
  }
  return answer;
}

export const address = (id) => `/v1/items/${encodeURIComponent(id)}`;
export const item = (id) => call("GET", address(id));
export const act = (id, action, body, options) => call("POST", `${address(id)}/${action}`, body, options);
