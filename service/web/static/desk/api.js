// API: the desk's calls. Changes go the same way as everybody's, with the proof that they come from this page.

import { about } from "./about.js";

const ANSWER_MS = 8000;

/** What the service did not do, in words for the editor; `code` and `current` where it said them. */
export class Refusal extends Error {
  constructor(text, problem = {}) {
    super(text);
    this.code = problem.code;
    this.current = problem.current;
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
    throw new Refusal(answer.detail ? `${answer.detail}${answer.path ? ` (${answer.path})` : ""}` : `The service refused: ${response.status}`, answer);
  }
  return answer;
}

export const address = (id) => `/v1/items/${encodeURIComponent(id)}`;
export const item = (id) => call("GET", address(id));
export const act = (id, action, body, options) => call("POST", `${address(id)}/${action}`, body, options);
