"""Pushpin: its connection manager, proxy and handler, with a small origin; published over its HTTP control port.

Readers are WebSockets over HTTP: the origin answers the opening of each with a subscription and the snapshot, and
Pushpin keeps it from then on. Debian's Pushpin asks the origin through zurl, which here is one of its own, since the
packaged one refuses loopback.

Its limits are raised: as it comes, `message_rate` (2,500 deliveries a second) and `message_hwm` (25,000 waiting, more
are dropped) would make 5,000 readers wait two seconds for a line, and lose lines of a burst. Of handshakes it holds
100 or so for the origin and answers 502 to more, which no setting changes: open at most `in_flight` of them at once.
A reader's subscription comes into force a moment after its snapshot: what is published in between does not reach it.
"""

import asyncio
import json
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import uvloop

from bench.peers import Peer, answers, lacks
from bench.peers.control import BACKLOG, listening
from tests.integration.harness import free_port

MOST_READERS = 18_000
INSTALL = "apt-get install pushpin"
CONFIG = """
[global]
include={{libdir}}/internal.conf
rundir={folder}
ipc_prefix=pushpin-
port_offset=0

[runner]
services=condure,pushpin-proxy,pushpin-handler
http_port=127.0.0.1:{port}
logdir={folder}
log_level=1
client_buffer_size=8192
client_maxconn={most}

[proxy]
routesfile=routes
updates_check=off
zurl_out_specs=ipc://{folder}/zurl-in
zurl_out_stream_specs=ipc://{folder}/zurl-in-stream
zurl_in_specs=ipc://{folder}/zurl-out

[handler]
push_in_spec=ipc://{folder}/push
push_in_sub_specs=ipc://{folder}/push-sub
push_in_http_addr=127.0.0.1
push_in_http_port={control_port}
push_in_http_max_headers_size=10000
push_in_http_max_body_size=10000000
stats_spec=ipc://{folder}/stats
command_spec=ipc://{folder}/command
message_rate=100000000
message_hwm=10000000
"""
ZURL = """
[General]
in_spec=ipc://{folder}/zurl-in
in_stream_spec=ipc://{folder}/zurl-in-stream
out_spec=ipc://{folder}/zurl-out
in_req_spec=ipc://{folder}/zurl-req
defpolicy=allow
max_open_requests={most}
buffer_size=200000
timeout=600
in_hwm={most}
out_hwm={most}
"""


class Pushpin(Peer):
    name = "Pushpin"
    most_readers = 5_000
    in_flight = 50
    control: HTTPConnection | None = None

    def missing(self) -> str | None:
        return lacks({"pushpin": "Pushpin", "condure": "condure", "zurl": "zurl"}, INSTALL)

    def start(self, port: int, snapshot: bytes, folder: Path, core: int) -> None:
        self.port = port
        origin_port, control_port = free_port(), free_port()
        (folder / "snapshot").write_bytes(snapshot)
        (folder / "routes").write_text(f"* 127.0.0.1:{origin_port},over_http\n")
        config, zurl = folder / "pushpin.conf", folder / "zurl.conf"
        config.write_text(CONFIG.format(folder=folder, port=port, control_port=control_port, most=MOST_READERS))
        zurl.write_text(ZURL.format(folder=folder, most=MOST_READERS))
        self.run([sys.executable, "-m", __name__, str(origin_port), str(folder)], folder, core)
        self.run(["zurl", f"--config={zurl}", "--loglevel=1"], folder, core)
        self.run(["pushpin", f"--config={config}", "--merge-output"], folder, core)
        ports = (origin_port, control_port, port)
        self.wait_until(lambda: all(map(answers, ports)), f"Pushpin listening at port {port}")
        said = subprocess.run(["pushpin", "--version"], capture_output=True, text=True, check=True).stdout
        self.name = f"Pushpin {said.split()[-1]}"
        self.control = HTTPConnection("127.0.0.1", control_port, timeout=10)

    def publish(self, payloads: list[bytes]) -> None:
        assert self.control is not None
        items = [{"channel": "news", "formats": {"ws-message": {"content": payload.decode()}}} for payload in payloads]
        self.control.request("POST", "/publish/", json.dumps({"items": items}))
        response = self.control.getresponse()
        if response.status != 200:
            raise RuntimeError(f"{self.name}: expected 200 for what is published, got {response.status}")
        response.read()

    def stop(self) -> None:
        if self.control is not None:
            self.control.close()
            self.control = None
        super().stop()


class Origin(asyncio.Protocol):
    """Answers WebSocket events over HTTP: the opening with a subscription and the snapshot, all else with itself."""

    def __init__(self, opened: bytes) -> None:
        self.opened = opened
        self.got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data
        while True:
            head, found, rest = self.got.partition(b"\r\n\r\n")
            size = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
            )
            if not found or len(rest) < size:
                return
            events, self.got = rest[:size], rest[size:]
            self.transport.write(answer(self.opened if events.startswith(b"OPEN\r\n") else events))


def answer(events: bytes) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/websocket-events\r\n"
        b'Sec-WebSocket-Extensions: grip; message-prefix=""\r\nContent-Length: %d\r\n\r\n%b' % (len(events), events)
    )


def event(kind: bytes, content: bytes) -> bytes:
    return b"%b %x\r\n%b\r\n" % (kind, len(content), content)


async def main(port: int, folder: Path) -> None:
    """Be the origin for ever."""
    subscribe = b'c:{"type":"subscribe","channel":"news"}'
    opened = b"OPEN\r\n" + event(b"TEXT", subscribe) + event(b"TEXT", (folder / "snapshot").read_bytes())
    server = await asyncio.get_running_loop().create_server(
        lambda: Origin(opened), sock=listening(port), backlog=BACKLOG
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), Path(sys.argv[2])))
