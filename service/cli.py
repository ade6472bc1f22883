"""The `stoppress` command. Each subcommand says in its help what it does and what it needs."""

import os
import sys
import time
from typing import Any

import click

from service.errors import StoppressError
from service.settings import Settings


class OneLine(click.Group):
    """Prints an error of ours as one line, and no traceback, with exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand."""
        try:
            return super().invoke(ctx)
        except StoppressError as error:
            where = f" ({error.path})" if error.path else ""
            raise click.ClickException(f"{error.detail}{where}") from None


@click.group(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="stoppress", message="%(prog)s %(version)s")
def main() -> None:
    """Stoppress pushes breaking news: publish, correct and kill one-line news on every open screen.

    `stoppress up` runs the whole service on this machine. Settings come from STOPPRESS_… variables of the environment;
    the README lists them.
    """


@main.command()
def up() -> None:
    """Run the whole service here, with a Redis of its own.

    Starts every process of the Procfile, and a redis-server with its data in ./data unless STOPPRESS_REDIS_URL names
    one. Ctrl-C stops everything; the next start has every item still.
    """
    from service.up import up as run

    sys.exit(run(_settings(), env=os.environ))


@main.command()
def web() -> None:
    """Serve the API, the pages and the readers' sockets.

    One process for each core, or STOPPRESS_WEB_PROCESSES of them, on STOPPRESS_HOST and STOPPRESS_PORT. Needs
    STOPPRESS_REDIS_URL.
    """
    from service import logs
    from service.web.server import serve

    settings = _settings()
    logs.configure(settings)
    _wait_for_redis(settings)
    serve(settings)


@main.command()
@click.argument("queue")
def worker(queue: str) -> None:
    """Take jobs from QUEUE (breaking).

    Run several for safety; two workers never do one change twice. Needs STOPPRESS_REDIS_URL.
    """
    _become_worker(queue)


@main.command()
def clock() -> None:
    """Keep time: embargoes, expiry, the beat and the sweep.

    Run two: one leads, the other stands by and takes over within 3 s. Needs STOPPRESS_REDIS_URL.
    """
    _become_worker("clock")


def _become_worker(name: str) -> None:
    """Replace this process: the service never imports the workers."""
    settings = _settings()
    _wait_for_redis(settings)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "workers", name])  # noqa: S606 - our own program, no shell


def _settings() -> Settings:
    return Settings.from_env(os.environ)


def _wait_for_redis(settings: Settings, seconds: float = 5.0) -> None:
    """Give Redis a moment to start; then say plainly that it is not there.

    Raises:
        StoppressError
    """
    from redis.exceptions import RedisError

    from service.store.connect import blocking, without_password

    for url in filter(None, (settings.require_redis_url(), settings.queue_url)):
        ends = time.monotonic() + seconds
        while True:
            try:
                with blocking(url) as redis:
                    redis.ping()
                break
            except (RedisError, OSError) as error:
                if time.monotonic() > ends:
                    raise StoppressError(f"Redis at {without_password(url)} does not answer: {error}") from None
                time.sleep(0.2)
