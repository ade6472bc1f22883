"""Server: uvicorn around the application, as many processes as asked for, on one listening socket."""

import contextlib
import os
import socket
import tempfile

import uvicorn
from uvicorn.supervisors import Multiprocess

from service.errors import StoppressError
from service.settings import Settings
from service.web.sheets import VARIABLE

# Connections that the kernel holds while a process is busy writing to all its readers.
BACKLOG = 4_096
# After the drain (`gateway/drain.py`), how long requests that are under way may take.
FINISH_SECONDS = 10


def serve(settings: Settings) -> None:
    """Serve until told to stop.

    Raises:
        StoppressError: the address cannot be listened on.
    """
    listening = listen(settings.host, settings.port)
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


def listen(host: str, port: int) -> socket.socket:
    """Bind a listening socket that the processes share.

    Raises:
        StoppressError: it is taken, or not ours to take.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise StoppressError(
            f"{host}:{port} cannot be listened on ({error.strerror}): choose another with STOPPRESS_PORT"
        ) from None
    listening.set_inheritable(True)
    return listening
