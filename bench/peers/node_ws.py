"""ws, Node's usual WebSocket server: its README's loop over `clients`. It compresses nothing and sends no pings.

The payload is given as a Buffer with `binary: false`, as there: a string would be encoded anew for each reader.
"""

from bench.peers.node import NodePeer


class NodeWs(NodePeer):
    name = "ws (Node)"
    package = "ws"
    script = "ws.js"
