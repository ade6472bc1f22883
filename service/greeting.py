"""Greeting: what `stoppress up` prints once the service is ready."""

import shlex
import sys
from contextlib import suppress
from pathlib import Path

from service.settings import Settings


def greeting(settings: Settings, port: int, base_url: str, desk: str | None, *, keeps: bool) -> str:
    """Say where everything is and how to go on. `desk` is a one-time link; `keeps`: whether the data outlives it."""
    stoppress = _as_typed(Path(sys.executable).parent / "stoppress")
    if not keeps:
        kept = "nothing of it is kept"
    elif settings.redis_url:
        kept = "every item is kept in the Redis of STOPPRESS_REDIS_URL"
    else:
        data = _as_typed(settings.data)
        kept = f"every item is kept in {data if Path(data).is_absolute() else f'./{data}'}"
    key = "STOPPRESS_ADMIN_KEY" if settings.admin_key else _as_typed(settings.data / "admin.key")
    # Another terminal does not have this one's environment.
    usual = Settings()
    told = {"STOPPRESS_PORT": str(port)} if port != usual.port else {}
    if settings.data != usual.data:
        told["STOPPRESS_DATA"] = str(settings.data)
    command = "".join(f"{name}={shlex.quote(value)} " for name, value in told.items()) + shlex.quote(stoppress)
    if desk is None:
        at_desk = f"{base_url}/desk (`{command} users link` prints a link that signs you in)"
    else:
        at_desk = f"{desk} (signs you in once, within an hour)"
    return f"""
Stoppress is running. Ctrl-C stops it; {kept}.

  ticker page   {base_url}/
  desk          {at_desk}
  API           {base_url}/v1/editions
  API key       {key}

  publish a first line, in another terminal:
    {command} publish "Stoppress is on the air" --edition en --urgency flash
  watch it arrive:
    {command} tail --edition en

"""


def _as_typed(path: Path) -> str:
    """`path` as somebody in this folder would type it."""
    absolute = path.absolute()
    with suppress(ValueError):
        return str(absolute.relative_to(Path.cwd()))
    return str(absolute)
