"""Nchan: nginx with the module of that name, one worker; messages are published over one keep-alive connection.

Readers subscribe to two channels at once (Nchan multiplexes them). One keeps a single message for ever, the snapshot;
the other keeps none, and has the news. With `first_message oldest` a new reader gets the snapshot and then only what is
new. One channel for both does not work: Nchan forgets the snapshot when a message that is not to be stored goes
through it. Two cost nothing that could be measured, neither time for a delivery nor memory for a reader.

Beyond the defaults it has a deep backlog, `multi_accept`, no access log, and `request_pool_size` of 1 KB: its 4 KB are
held for as long as a reader stays, and a reader takes 8 KB instead of 10. It does not ping, and compresses nothing.
"""

import grp
import os
import pwd
import resource
import socket
from pathlib import Path
from typing import BinaryIO

from bench.peers import Peer, answers, lacks

NGINX = "/usr/sbin/nginx"
MODULE = "/usr/lib/nginx/modules/ngx_nchan_module.so"
MOST_CONNECTIONS = 30_000
CONFIG = """
daemon off;
user {user} {group};
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
load_module {module};

events {{
    use epoll;
    worker_connections {connections};
    multi_accept on;
}}

http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    keepalive_requests 1000000;
    keepalive_timeout 1h;
    client_header_buffer_size 512;
    request_pool_size 1k;

    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = / {{
            nchan_subscriber websocket;
            nchan_channel_id snapshot news;
            nchan_subscriber_first_message oldest;
        }}
        location = /snapshot {{
            nchan_publisher http;
            nchan_channel_id snapshot;
            nchan_message_buffer_length 1;
            nchan_message_timeout 0;
        }}
        location = /news {{
            nchan_publisher http;
            nchan_channel_id news;
            nchan_store_messages off;
        }}
        location = /version {{
            return 200 $nchan_version;
        }}
    }}
}}
"""


class Nchan(Peer):
    name = "Nchan (nginx)"
    connection: socket.socket | None = None
    answered: BinaryIO

    def missing(self) -> str | None:
        return lacks({NGINX: "nginx", MODULE: "its module Nchan"}, "apt-get install nginx-light libnginx-mod-nchan")

    def start(self, port: int, snapshot: bytes, folder: Path, core: int) -> None:
        self.port = port
        config = folder / "nginx.conf"
        # It keeps a table of that size, and needs a file for each.
        connections = min(MOST_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
        config.write_text(
            CONFIG.format(folder=folder, module=MODULE, port=port, connections=connections, user=user, group=group)
        )
        self.run([NGINX, "-c", str(config), "-e", str(folder / "error.log")], folder, core)
        self.wait_until(lambda: answers(port), f"nginx listening at port {port}")
        self.connection = socket.create_connection(("127.0.0.1", port))
        self.answered = self.connection.makefile("rb")
        self._ask([b"GET /version"], [b""])
        self.name = f"Nchan {self._answer().decode()} ({self._server})"
        self._ask([b"POST /snapshot"], [snapshot])
        self._answer()

    def publish(self, payloads: list[bytes]) -> None:
        # HTTP's own way of handing over several at once: pipelined, in one write.
        self._ask([b"POST /news"] * len(payloads), payloads)
        for _ in payloads:
            self._answer()

    def _ask(self, lines: list[bytes], bodies: list[bytes]) -> None:
        assert self.connection is not None
        self.connection.sendall(
            b"".join(
                b"%b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%b" % (line, len(body), body)
                for line, body in zip(lines, bodies, strict=True)
            )
        )

    def _answer(self) -> bytes:
        """Read the next answer; give its body."""
        status = self.answered.readline()
        headers: dict[bytes, bytes] = {}
        while line := self.answered.readline().strip():
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        if not status.startswith(b"HTTP/1.1 20"):
            raise RuntimeError(f"{self.name}: expected that nginx takes what is published, got {status!r}")
        self._server = headers[b"server"].decode().replace("/", " ")
        return self.answered.read(int(headers[b"content-length"]))

    def stop(self) -> None:
        if self.connection is not None:
            self.answered.close()
            self.connection.close()
            self.connection = None
        super().stop()
