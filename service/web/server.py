"""Server: uvicorn around the application, as many processes as asked for, on one listening socket."""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
import tempfile

import uvicorn
from uvicorn.supervisors import Multiprocess

from service.errors import StoppressError
from service.settings import Settings
from service.web.sheets import VARIABLE

# Connections that the kernel holds while a process is busy writing to all its readers.
BACKLOG = 4_096
# Bytes of a connection that the kernel may hold unread; Linux takes it double, and counts what a packet costs, not what
# it carries: 30 KB measured. Left to itself it grows to 4 MB for each reader that does not read. Fifty lines fit.
SEND_BUFFER = 16_384
# Then the kernel gives up a peer that takes nothing or is not there: after our own pings did, also for closed sockets.
UNTAKEN_MS = 90_000
# Open files that are no connections: Redis, pipes, the kernel's own.
SPARE_FILES = 200
# Its number in glibc's malloc.h.
M_ARENA_MAX = -8
# After the drain (`gateway/drain.py`), how long requests that are under way may take.
FINISH_SECONDS = 10


def serve(settings: Settings) -> None:
    """Serve until told to stop.

    Raises:
        StoppressError: the address cannot be listened on.
    """
    raise_open_files(settings)
    listening = listen(settings.host, settings.port)
    # uvicorn raises the signal that stopped it once more when it has ended: that is no failure.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    config = uvicorn.Config(
        "service.app:from_env",
        factory=True,
        http="service.gateway.adopt:AdoptingProtocol",
        ws="websockets-sansio",
        ws_max_size=1024,
        ws_per_message_deflate=False,
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # Door reads X-Forwarded-For itself, by the same list for adopted and plain requests.
        proxy_headers=False,
        backlog=BACKLOG,
        workers=settings.web_processes,
        timeout_graceful_shutdown=FINISH_SECONDS,
    )
    with contextlib.closing(listening):
        if settings.web_processes > 1:
            with tempfile.TemporaryDirectory(prefix="stoppress-") as sheets:
                os.environ[VARIABLE] = sheets
                Multiprocess(config, sockets=[listening]).run()
        else:
            uvicorn.Server(config).run(sockets=[listening])


def raise_open_files(settings: Settings) -> None:
    """Ask for as many open files as there may be connections; most systems give a process 1,024 to begin with."""
    needed = settings.max_readers + settings.max_connections + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def share_arena() -> None:
    """Have all threads allocate from one arena (glibc's mallopt(3)); other C libraries have but one.

    Each thread that answers editors would keep some 0.2 MB in one of its own. They do not fight over it: one at a time
    has the interpreter.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)


def listen(host: str, port: int) -> socket.socket:
    """Bind a listening socket that the processes share.

    Raises:
        StoppressError: it is taken, or not ours to take.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Every connection that is accepted here has them from its first byte.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    if sys.platform == "linux":
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNTAKEN_MS)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise StoppressError(
            f"{host}:{port} cannot be listened on ({error.strerror}): choose another with STOPPRESS_PORT"
        ) from None
    listening.set_inheritable(True)
    return listening
