// Socket.IO: a server for WebSocket alone, and `io.emit()`. `node socketio.js PORT FOLDER`.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { Server } from "socket.io";
import { obey } from "./control.js";

const [port, folder] = process.argv.slice(2);
const snapshot = JSON.parse(readFileSync(join(folder, "snapshot"), "utf8"));
const http = createServer();
const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false, serveClient: false });

io.on("connection", (socket) => socket.emit("snapshot", snapshot));

http.listen({ host: "127.0.0.1", port: Number(port), backlog: 4096 }, () =>
  obey(folder, (payloads) => {
    for (const payload of payloads) io.emit("item", JSON.parse(payload));
  }),
);
