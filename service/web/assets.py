"""Assets: scripts and styles of the pages, under an address that changes with their content.

The version is part of the path, so that a module imports its neighbours of the same version: an old script never meets
a new page. What has a version is kept for ever, everything else is asked for again.
"""

import hashlib
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

KEPT = "public, max-age=31536000, immutable"


class Assets(StaticFiles):
    """`/static/<version>/<name>`, and `/static/<name>` for who writes it by hand."""

    def __init__(self) -> None:
        super().__init__(directory=str(_folder()))

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Serve a file with how long it may be kept."""
        given, _, name = path.partition("/")
        kept = given == version()
        response = await super().get_response(name if kept else path, scope)
        response.headers["cache-control"] = KEPT if kept else "no-cache"
        return response


def address(name: str) -> str:
    """A file's address of this version."""
    return f"/static/{version()}/{name}"


@cache
def version() -> str:
    """A hash of all files."""
    digest = hashlib.sha256()
    for name, content in sorted(_contents(_folder(), "")):
        digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()[:12]


def _folder() -> Traversable:
    return resources.files("service.web") / "static"


def _contents(folder: Traversable, before: str) -> list[tuple[str, bytes]]:
    found = []
    for each in folder.iterdir():
        if each.is_dir():
            found += _contents(each, f"{before}{each.name}/")
        else:
            found.append((before + each.name, each.read_bytes()))
    return found
