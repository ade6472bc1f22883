"""Socket.IO over WebSocket alone: `io.emit()`, which encodes a packet once for all. It compresses nothing.

Its own protocol lies on top of WebSocket (engine.io 4): the server speaks first, the reader asks to be connected to
the namespace, and the server pings with a text frame every 25 s, which cannot be turned off.
"""

from bench.peers.node import NodePeer


class SocketIO(NodePeer):
    name = "Socket.IO (Node)"
    package = "socket.io"
    script = "socketio.js"
    path = "/socket.io/?EIO=4&transport=websocket"
    # The text frame `40`, masked with zeros.
    after = b"\x81\x82\0\0\0\x0040"
