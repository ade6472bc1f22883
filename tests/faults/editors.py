"""Editors: they publish, change and take off lines all the time, and do not give up until each is answered."""

import asyncio
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from tests.faults.oracle import Ledger
from tests.integration.harness import KEY

SECTIONS = ("politics", "economy", "sports", "health")
REGIONS = ("mena", "europe", "africa")
# What an editor does next, and how often.
DEEDS = {
    "create": 44,
    "embargo": 4,
    "expiring": 3,
    "update": 20,
    "correct": 7,
    "refile": 4,
    "kill": 7,
    "withhold": 5,
    "pin": 3,
    "expire": 3,
}
# So many lines an editor keeps in hand; older ones are let go.
IN_HAND = 25
PAUSE_SECONDS = 0.05


@dataclass
class Line:
    """A line of this editor's, as the last answer said it is."""

    id: str
    edition: str
    version: int
    state: str = "live"
    pinned: bool = False


@dataclass
class Editor:
    """One editor, at several addresses of the service, any of which may be gone."""

    name: str
    urls: list[str]
    editions: tuple[str, ...]
    ledger: Ledger
    chance: random.Random
    pace_seconds: float
    working: asyncio.Event
    deeds: dict[str, int]
    lines: list[Line] = field(default_factory=list)
    # When the latest call that was answered with yes began, for each edition (monotonic).
    answered: dict[str, float] = field(default_factory=dict)
    refusals: list[tuple[int, float]] = field(default_factory=list)
    accepted: int = 0
    busy: bool = False
    _number: int = 0

    async def run(self) -> None:
        """Work until cancelled; between two deeds, wait while `working` is not set."""
        limits = httpx.Limits(max_connections=4)
        headers = {"authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(headers=headers, timeout=15, trust_env=False, limits=limits) as http:
            while True:
                await self.working.wait()
                self.busy = True
                await self._deed(http)
                self.busy = False
                await asyncio.sleep(self.chance.expovariate(1 / self.pace_seconds))

    async def _deed(self, http: httpx.AsyncClient) -> None:
        deed = self.chance.choices(list(self.deeds), list(self.deeds.values()))[0]
        if deed in ("create", "embargo", "expiring") or len(self.lines) < 5:
            await self._create(http, deed)
            return
        line = self.chance.choice(self.lines)
        if line.state == "withheld":
            await self._act(http, line, self.chance.choice(("release", "kill")))
        elif deed in ("update", "correct", "refile"):
            await self._change(http, line, deed)
        elif deed == "pin":
            await self._act(http, line, "unpin" if line.pinned else "pin")
        else:
            await self._act(http, line, deed)

    async def _create(self, http: httpx.AsyncClient, deed: str) -> None:
        self._number += 1
        line = Line(f"{self.name}-{self._number}", self.chance.choice(self.editions), 1)
        body = self._words(line) | {
            "id": line.id,
            "edition": line.edition,
            "urgency": self.chance.choice((1, 2, 3, 4)),
            "section": self.chance.choice((*SECTIONS, None)),
            "regions": self.chance.sample(REGIONS, self.chance.choice((0, 1, 1, 2))),
        }
        if deed in ("embargo", "expiring"):
            at = time.time() + self.chance.uniform(1.0, 4.0)
            until = datetime.fromtimestamp(int(at * 1000) / 1000, UTC)
            body["embargoedUntil" if deed == "embargo" else "expires"] = until.isoformat(timespec="milliseconds")
            if deed == "embargo":
                self.ledger.embargoed[line.id] = until.timestamp()
            else:
                self.ledger.expiring.add(line.id)
        answer = await self._until_answered(http, line.edition, "POST", "/v1/items", body, {})
        if answer.status_code == 422 and deed in ("embargo", "expiring"):
            return  # it was not accepted before its time had passed
        assert answer.status_code == 202, f"{line.id}: {answer.status_code} {answer.text}"
        self.accepted += 1
        self.ledger.note(line.edition, line.id, 1, "item", self.name)
        if deed == "create":
            self.lines.append(line)
            del self.lines[:-IN_HAND]

    async def _change(self, http: httpx.AsyncClient, line: Line, change: str) -> None:
        body = {"change": change, **self._words(line)} | ({"note": "It was wrong"} if change == "correct" else {})
        if change == "update":
            body["urgency"] = self.chance.choice((1, 2, 3, 4))
        answer = await self._until_answered(http, line.edition, "PATCH", f"/v1/items/{line.id}", body, self._if(line))
        assert answer.status_code == 202, f"{line.id}: {answer.status_code} {answer.text}"
        self._note(line, answer.json(), "item")

    async def _act(self, http: httpx.AsyncClient, line: Line, action: str) -> None:
        headers = self._if(line) if action != "kill" else {}
        path = f"/v1/items/{line.id}/{action}"
        answer = await self._until_answered(http, line.edition, "POST", path, {"note": "why"}, headers)
        assert answer.status_code == 202, f"{line.id} {action}: {answer.status_code} {answer.text}"
        kinds = {"kill": "killed", "withhold": "withheld", "expire": "expired"}
        self._note(line, answer.json(), kinds.get(action, "item"))
        line.pinned = {"pin": True, "unpin": False}.get(action, line.pinned)
        if action in ("kill", "expire"):
            self.lines.remove(line)

    def _note(self, line: Line, answer: dict[str, Any], kind: str) -> None:
        assert answer["version"] == line.version + 1, f"{line}: {answer}"
        line.version, line.state = answer["version"], answer["state"]
        self.accepted += 1
        self.ledger.note(line.edition, line.id, line.version, kind, self.name)

    async def _until_answered(
        self,
        http: httpx.AsyncClient,
        edition: str,
        method: str,
        path: str,
        body: dict[str, Any],
        headers: dict[str, str],
    ) -> httpx.Response:
        """Send the same request, with the same Idempotency-Key, until it is not "try again"."""
        self._number += 1
        if path != "/v1/items" and not path.endswith("/kill"):
            headers = headers | {"idempotency-key": f"{self.name}.{self._number}"}
        while True:
            began = time.monotonic()
            try:
                url = self.chance.choice(self.urls) + path
                answer = await http.request(method, url, json=body, headers=headers)
            except httpx.TransportError:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if answer.status_code != 503:
                if answer.status_code < 300:
                    self.answered[edition] = began
                return answer
            assert int(answer.headers["retry-after"]) > 0
            self.refusals.append((answer.status_code, time.monotonic() - began))
            await asyncio.sleep(PAUSE_SECONDS)

    def _words(self, line: Line) -> dict[str, Any]:
        return {
            "headline": f"Line {line.id}, written {self._number} at {time.time():.3f}",
            "speaker": self.chance.choice((None, "Foreign Ministry", "وزارة الخارجية")),
        }

    def _if(self, line: Line) -> dict[str, str]:
        return {"if-match": f'"{line.version}"'}
