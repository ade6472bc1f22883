// Control: the server's side of the control connection (see bench/peers/__init__.py), for peers in Node.

import { createServer } from "node:net";
import { join } from "node:path";

/** Call `publish` with each list of payloads, as Buffers, in the order in which they came. */
export function obey(folder, publish) {
  const server = createServer((connection) => {
    let got = Buffer.alloc(0);
    connection.on("data", (data) => {
      got = Buffer.concat([got, data]);
      for (let order = first(got); order; order = first(got)) {
        got = got.subarray(order.size);
        connection.write("\n");
        publish(order.payloads);
      }
    });
  });
  server.listen(join(folder, "control"));
}

/** The first order of what has come, and its size; undefined until all of it is there. */
function first(got) {
  if (got.length < 4) return undefined;
  const payloads = [];
  let at = 4;
  for (let left = got.readUInt32BE(0); left > 0; left -= 1) {
    if (got.length < at + 4) return undefined;
    const end = at + 4 + got.readUInt32BE(at);
    if (got.length < end) return undefined;
    payloads.push(got.subarray(at + 4, end));
    at = end;
  }
  return { payloads, size: at };
}
