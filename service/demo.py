"""Demo: a newsroom at work on a service of its own, with wires' documents, sample lines, a correction and a kill.

It plays in a data folder that is thrown away, so that it can be run again and again.
"""

import dataclasses
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Mapping
from importlib.resources import files
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from service.api_client import Api
from service.client import Lines, follow
from service.domain.edition import parse_editions
from service.errors import StoppressError
from service.settings import Settings
from service.tail import described
from service.up import Running, up

# Editions for the languages of those documents; an edition is a few lines of configuration.
EDITIONS = """
[editions.en]
name = "English"
[editions.ar]
name = "العربية"
[editions.es]
name = "Español"
"""
WIRE_EDITIONS = """
[editions.de]
name = "Deutsch"
[editions.nb]
name = "Norsk bokmål"
"""


def demo(settings: Settings, env: Mapping[str, str], *, gap_seconds: float, wires: Path, once: bool) -> int:
    """Run the service and play the newsroom; with `once`, end after the last line. Returns the exit status."""
    documents = sorted(wires.glob("*.json")) if wires.is_dir() else []
    documents = [path for path in documents if "schema" not in path.name]
    with tempfile.TemporaryDirectory(prefix="stoppress-demo-") as folder:
        editions = Path(folder) / "editions.toml"
        editions.write_text(EDITIONS + (WIRE_EDITIONS if documents else ""), encoding="utf-8")
        settings = dataclasses.replace(settings, data=Path(folder) / "data", editions=editions)
        env = {**env, "STOPPRESS_DATA": str(settings.data), "STOPPRESS_EDITIONS": str(editions)}
        play = Newsroom(settings, documents, gap_seconds, once=once)
        status = up(settings, env=env, quiet=True, keeps=False, then=play.run)
        return play.status or status


class Newsroom:
    """The editors and wires of the demonstration, and two readers who print what they get."""

    def __init__(self, settings: Settings, documents: list[Path], gap_seconds: float, *, once: bool) -> None:
        self._editions = parse_editions(settings.read_editions(), str(settings.editions))
        self._documents = documents
        self._gap_seconds = gap_seconds
        self._once = once
        self._out = Console(highlight=False, soft_wrap=True)
        self.status = 0

    def run(self, service: Running) -> None:
        """Play; runs in a thread beside the service."""
        try:
            for code, style in (("en", "cyan"), ("ar", "magenta")):
                reader = threading.Thread(target=self._read, args=(service.base_url, code, style), daemon=True)
                reader.start()
            self._play(Api(service.base_url, service.admin_key))
            self._say("That was the demonstration. The service runs on: open the ticker page, or press Ctrl-C.")
        except StoppressError as error:
            if service.stopping():
                return
            self._say(f"The demonstration failed: {error.detail}")
            self.status = 1
        if self._once or self.status:
            os.kill(os.getpid(), signal.SIGTERM)

    def _play(self, api: Api) -> None:
        lines: dict[str, list[dict[str, Any]]] = msgspec.json.decode(
            (files("service.samples") / "lines.json").read_bytes()
        )
        for path in self._documents:
            answer = api.send("POST", "/v1/ingest/ninjs", content=path.read_bytes())
            self._say(f"wire document {path.name}: {answer['state']}, {answer['id']} version {answer['version']}")
            self._pause()
        published: dict[str, list[dict[str, Any]]] = {code: [] for code in lines}
        # The editions take turns, as newsrooms do that cover the same day.
        turns = zip_longest(*([(code, line) for line in rows] for code, rows in lines.items()))
        for number, (code, line) in enumerate(filter(None, chain.from_iterable(turns)), start=1):
            body = {"edition": code, "state": "live"} | line
            published[code].append(api.send("POST", "/v1/items", body))
            if number == 8:
                self._correct(api, published["en"][0]["id"], lines["en"][0])
            if number == 14:
                self._kill(api, published["en"][1]["id"])
            self._pause()

    def _correct(self, api: Api, item_id: str, line: dict[str, Any]) -> None:
        self._say("The desk corrects its first line, with a public note.")
        body = {"change": "correct", "headline": f"{line['headline']} local time", "note": "It is midnight local time."}
        api.send("PATCH", f"/v1/items/{item_id}", body, version=1)

    def _kill(self, api: Api, item_id: str) -> None:
        self._say("The desk kills its second line: off every screen, out of the log, its id closed for ever.")
        api.send("POST", f"/v1/items/{item_id}/kill", {"note": "not confirmed by a second source"})

    def _read(self, base_url: str, code: str, style: str) -> None:
        """One reader: what it receives, a line each."""
        for message in follow(base_url, code, [], Lines(self._editions[code].size)):
            text = described(message)
            if text is not None:
                self._out.print(Text.assemble((f"{code} reader │ ", style), text))

    def _say(self, sentence: str) -> None:
        self._out.print(Text(f"newsroom  │ {sentence}", "bold yellow"))

    def _pause(self) -> None:
        # News comes in bursts with lulls between them (a Poisson process), not like a metronome.
        time.sleep(min(random.expovariate(1.0), 3.0) * self._gap_seconds)
