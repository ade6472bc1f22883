// Chart: how soon the screens confirmed a change, as a curve small enough for a row. Its words say the same.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 96;
const HEIGHT = 22;
const FIRST_MS = 1;
const LAST_MS = 60_000;

function node(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

const across = (ms) => (WIDTH * Math.log(Math.min(Math.max(ms, FIRST_MS), LAST_MS) / FIRST_MS)) / Math.log(LAST_MS / FIRST_MS);

/** `curve`: [[ms, screens so far], …]; `screens` is the top. Time runs logarithmically from 1 ms to a minute. */
export function chart(curve, screens) {
  const top = Math.max(screens, curve.at(-1)?.[1] ?? 0, 1);
  const height = (count) => HEIGHT - 1 - ((HEIGHT - 2) * count) / top;
  let path = `M0 ${height(0)}`;
  for (const [ms, count] of curve) path += `H${across(ms).toFixed(1)}V${height(count).toFixed(1)}`;
  path += `H${WIDTH}`;
  const picture = node("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, "aria-hidden": "true" });
  picture.append(node("path", { class: "all", d: `M0 ${height(screens)}H${WIDTH}` }), node("path", { class: "curve", d: path }));
  return picture;
}

/** A way in words: accepted → queued → in the log → first screen → 99 % of screens. */
export function hops({ queued, inLog, first, p50, p99, confirmed }) {
  const steps = [["queued", queued], ["in the log", inLog], ["first screen", first]].filter(([, ms]) => ms != null);
  const words = steps.map(([name, ms]) => `${name} ${ms} ms`);
  if (confirmed) words.push(`half of ${confirmed} within ${p50} ms`, `99 % within ${p99} ms`);
  return words.join(" → ");
}
