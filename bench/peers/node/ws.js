// ws: a server, and the loop over `clients` by which its README broadcasts. `node ws.js PORT FOLDER`.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import WebSocket, { WebSocketServer } from "ws";
import { obey } from "./control.js";

const [port, folder] = process.argv.slice(2);
const snapshot = readFileSync(join(folder, "snapshot"));
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(port), backlog: 4096, perMessageDeflate: false });

server.on("connection", (client) => {
  client.on("error", () => {});
  client.send(snapshot, { binary: false });
});

server.on("listening", () =>
  obey(folder, (payloads) => {
    for (const payload of payloads) {
      server.clients.forEach((client) => {
        if (client.readyState === WebSocket.OPEN) client.send(payload, { binary: false });
      });
    }
  }),
);
