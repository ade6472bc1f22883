"""Campaign: a whole service under load and faults, and an oracle that watches all readers."""

import asyncio
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import httpx
from redis.exceptions import RedisError

from service.store.keys import Keys
from tests.faults.editors import DEEDS, REGIONS, SECTIONS, Editor
from tests.faults.faults import FAULTS, Fault, Stage
from tests.faults.mutant import BUGS
from tests.faults.oracle import History, Ledger, Oracle, Selection
from tests.faults.proxy import Proxy
from tests.faults.readers import KINDS, Reader
from tests.integration.harness import Service, free_port

EDITIONS = ("en", "ar", "es")
PROCESSES = ("web1", "web2", "worker1", "worker2", "clock1", "clock2")
# So few changes stay in the log that old cursors fall off its end.
EDITIONS_FILE = "".join(f'[editions.{code}]\nname = "{code}"\nlog = 1500\n\n' for code in EDITIONS)
# A service that has not recovered after this long has not.
DEADLINE_SECONDS = 40.0
# What the service promises.
RECOVERY_SECONDS = 3.0


@dataclass
class Report:
    """What a campaign came to."""

    seed: int
    seconds: float
    faults: Counter[str] = field(default_factory=Counter)
    # Those that the campaign was too short for.
    untried: list[str] = field(default_factory=list)
    recoveries: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    accepted: int = 0
    readers: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    deliveries: int = 0
    refusals: list[float] = field(default_factory=list)
    violations: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def table(self) -> str:
        """The whole as text."""
        rows = [f"{'fault':<28}{'times':>7}{'recovery p50':>14}{'p99':>9}{'max':>9}"]
        for name, count in sorted(self.faults.items(), key=lambda each: -each[1]):
            rows.append(f"{name.replace('_', ' '):<28}{count:>7}" + _times(self.recoveries[name]))
        every = [each for taken in self.recoveries.values() for each in taken]
        rows.append(f"{'all':<28}{self.faults.total():>7}" + _times(every))
        if self.untried:
            rows.append(f"too short to try: {', '.join(name.replace('_', ' ') for name in self.untried)}")
        broken = self.violations
        silent = broken["silent"] + broken["not recovered"]
        others = {kind: count for kind, count in broken.items() if kind not in COUNTED}
        readers = ", ".join(f"{count} {kind}" for kind, count in self.readers.items())
        rows += [
            "",
            f"seed {self.seed}, {self.seconds:.0f} s; {self.readers.total()} readers ({readers})",
            f"changes accepted {self.accepted:>9,}    refused and tried again {len(self.refusals):,}"
            f" (slowest refusal {max(self.refusals, default=0):.2f} s)",
            f"deliveries       {self.deliveries:>9,}    connections {self.connections:,}",
            f"lost {broken['lost']}    twice {broken['twice']}    out of order {broken['out of order']}"
            f"    silent {silent}    other {sum(others.values())}",
        ]
        for kind, count in broken.items():
            rows += [f"{kind} ({count}):", *(f"    {each}" for each in self.examples.get(kind, []))]
        return "\n".join(rows)


FEW = 20
COUNTED = ("lost", "twice", "out of order", "silent", "not recovered")


def _times(taken: list[float]) -> str:
    ordered = sorted(taken)
    if not ordered:
        return ""
    # Of a few there is no p99 but the maximum, which stands beside it.
    p99 = f"{ordered[int(len(ordered) * 0.99)]:>7.2f} s" if len(ordered) >= FEW else " " * 9
    return f"{ordered[len(ordered) // 2]:>12.2f} s{p99}{ordered[-1]:>7.2f} s"


class Campaign:
    """One campaign on one service; `bug` is one of `mutant.BUGS`, `without` names deeds that editors do not do."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        seconds: float,
        *,
        readers: int = 100,
        editors: int = 6,
        pace_seconds: float = 0.08,
        faults: Mapping[Fault, int] = FAULTS,
        bug: str | None = None,
        without: frozenset[str] = frozenset(),
    ) -> None:
        self._folder = folder
        self._seconds = seconds
        self._count = readers
        self._editors_count = editors
        self._pace = pace_seconds
        self._kinds = faults
        self._bug = bug
        self._deeds = {deed: often for deed, often in DEEDS.items() if deed not in without}
        self._chance = random.Random(seed)
        self._ports = [free_port(), free_port()]
        self._working = asyncio.Event()
        self.ledger = Ledger()
        self.oracle = Oracle(self.ledger)
        self.report = Report(seed, seconds)

    async def run(self, say: Callable[[str], None] = lambda _: None) -> Report:
        """Run it to its end, and judge."""
        editions = self._folder / "editions.toml"
        editions.write_text(EDITIONS_FILE)
        async with AsyncExitStack() as stack:
            service = Service(self._folder, editions=str(editions))
            if self._bug is not None:
                program = [sys.executable, str(Path(__file__).with_name("mutant.py")), self._bug]
                service.programs[BUGS[self._bug].process] = program
                service.may_fail |= set(PROCESSES)
            await asyncio.to_thread(service.__enter__)

            async def leave(
                kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
            ) -> None:
                try:
                    await asyncio.to_thread(service.__exit__, kind, error, trace)
                except AssertionError as untidy:
                    # A traceback in a log, or a process that does not stop: of the campaign's findings, not its end.
                    self.oracle.bad("untidy", str(untidy)[:3000])

            stack.push_async_exit(leave)
            proxies = {name: await stack.enter_async_context(Proxy(service.redis_server.url)) for name in PROCESSES}

            def start(name: str) -> None:
                port = self._ports[int(name[-1]) - 1]
                service.start(name, ready=False, redis_url=proxies[name].url, port=str(port))

            for name in PROCESSES:
                start(name)
            readers = [self._reader(number) for number in range(self._count)]
            editors = [self._editor(number) for number in range(self._editors_count)]
            stage = Stage(service, proxies, readers, start, self._chance, editors, self._working, self.oracle, EDITIONS)
            http = await stack.enter_async_context(httpx.AsyncClient(timeout=10, trust_env=False))
            await self._until(lambda: self._ready(http), "both web processes to be ready")
            tasks = [asyncio.create_task(each.run()) for each in (*readers, *editors)]
            self._working.set()
            try:

                async def all_in() -> bool:
                    return all(reader.connections for reader in readers)

                await self._until(all_in, "all readers to be in")
                await self._faults(stage, tasks, editors, readers, say)
                self._working.clear()
                await self._rest(service, readers, http)
                _check_alive(tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            self._tally(readers, editors)
        return self.report

    async def _faults(
        self,
        stage: Stage,
        tasks: list[asyncio.Task[None]],
        editors: list[Editor],
        readers: list[Reader],
        say: Callable[[str], None],
    ) -> None:
        ends = time.monotonic() + self._seconds
        told = time.monotonic()
        while time.monotonic() < ends:
            await asyncio.sleep(self._chance.uniform(0, 0.3))
            # Some come in pairs: a second one while the first lasts.
            faults = self._some_faults()
            await asyncio.gather(*(fault(stage) for fault in faults))
            taken = await self._recovery(stage.service, editors, readers, [fault.__name__ for fault in faults])
            for fault in faults:
                self.report.faults[fault.__name__] += 1
                self.report.recoveries[fault.__name__].append(taken)
            _check_alive(tasks)
            if time.monotonic() - told > 10:
                told = time.monotonic()
                left = max(0.0, ends - told)
                accepted = sum(editor.accepted for editor in editors)
                say(f"{left:4.0f} s left, {self.report.faults.total()} faults, {accepted} changes, {self._broken()}")

    async def _recovery(
        self, service: Service, editors: list[Editor], readers: list[Reader], names: list[str]
    ) -> float:
        """How long it takes, from the end of a fault, until editors publish again and prompt readers have it all."""
        ended = time.monotonic()
        needed: dict[str, int] = {}

        async def recovered() -> bool:
            for code in EDITIONS:
                if code not in needed:
                    # Once somebody was told yes since: then everything before that is in the outbox, or out of it.
                    if max(editor.answered.get(code, 0.0) for editor in editors) < ended:
                        return False
                    needed[code] = await asyncio.to_thread(_whole, service, code)
                for reader in readers:
                    if reader.kind == "live" and reader.history.edition == code and reader.history.seq < needed[code]:
                        return False
            return True

        try:
            await self._until(recovered, "the service to recover")
        except AssertionError:
            stuck = [
                reader.history.name for reader in readers if reader.kind == "live" and not reader.history.live_since
            ]
            self.oracle.bad(
                "not recovered", f"{DEADLINE_SECONDS:g} s after {names}; needed {needed}; not live: {stuck}"
            )
        return time.monotonic() - ended

    async def _rest(self, service: Service, readers: list[Reader], http: httpx.AsyncClient) -> None:
        """Let everything come to rest: readers stay, outboxes empty, and everyone has what a fresh snapshot says."""
        for reader in readers:
            reader.resting = True
        try:
            await self._until(lambda: self._ready(http), "both web processes to be ready in the end")
        except AssertionError as error:
            self.oracle.bad("not recovered", str(error))

        async def empty() -> bool:
            if any(until > time.time() - 1 for until in self.ledger.embargoed.values()):
                return False
            return all([await asyncio.to_thread(_waiting, service, code) == 0 for code in EDITIONS])

        try:
            await self._until(empty, "the outboxes to be empty")
        except AssertionError:
            self.oracle.bad("lost", "changes are left in an outbox, and nobody takes them")
        # All of them together have that long; whoever comes after the time is looked at all the same.
        ends = time.monotonic() + DEADLINE_SECONDS
        for reader in readers:
            await self._settled(reader, http, max(0.5, ends - time.monotonic()))

    async def _settled(self, reader: Reader, http: httpx.AsyncClient, seconds: float) -> None:
        """Wait until a reader shows what a fresh snapshot of each process shows (state + changes = fresh state)."""
        history = reader.history
        shown: list[object] = []
        fresh: list[object] = []

        async def equal() -> bool:
            nonlocal shown, fresh
            for port in self._ports:
                url = f"http://127.0.0.1:{port}/v1/editions/{history.edition}/ticker"
                fresh = (await http.get(url, params=history.selection.query())).json()["items"]
                shown = list(history.shown())
                if shown != fresh:
                    return False
            return True

        try:
            await self._until(equal, "a reader to show what a fresh snapshot shows", seconds)
        except AssertionError:
            self.oracle.bad("wrong in the end", f"{history.name}: shows {_brief(shown)}, a snapshot {_brief(fresh)}")

    def _tally(self, readers: list[Reader], editors: list[Editor]) -> None:
        self.oracle.judge()
        report = self.report
        report.untried = [fault.__name__ for fault in self._kinds if fault.__name__ not in report.faults]
        report.accepted = sum(editor.accepted for editor in editors)
        report.refusals = [seconds for editor in editors for _, seconds in editor.refusals]
        report.readers = Counter(reader.kind for reader in readers)
        report.connections = sum(reader.connections for reader in readers)
        report.deliveries = sum(reader.history.deliveries for reader in readers)
        report.violations = self.oracle.violations
        report.examples = self.oracle.examples

    def _some_faults(self) -> list[Fault]:
        """One, or a second one while the first lasts; never two of a kind."""
        kinds, weights = list(self._kinds), list(self._kinds.values())
        return list(set(self._chance.choices(kinds, weights, k=self._chance.choice((1, 1, 1, 2)))))

    def _broken(self) -> str:
        return f"violations: {dict(self.oracle.violations)}" if self.oracle.violations else "no violation"

    def _reader(self, number: int) -> Reader:
        kind = KINDS[number % len(KINDS)]
        edition = EDITIONS[number // len(KINDS) % len(EDITIONS)]
        selection = Selection()
        # Every kind with a selection, too.
        if number // (len(KINDS) * len(EDITIONS)) % 2:
            selection = Selection(
                sections=tuple(self._chance.sample(SECTIONS, self._chance.choice((0, 1, 2)))),
                regions=tuple(self._chance.sample(REGIONS, self._chance.choice((0, 1)))),
                urgency=self._chance.choice((2, 3, 4)),
            )
        name = f"{kind} reader {number} of {edition}" + (f" {selection.query()}" if selection.query() else "")
        history = History(self.oracle, name, edition, selection, prompt=kind != "slow")
        return Reader(kind, history, self._ports, random.Random(self._chance.random()))

    def _editor(self, number: int) -> Editor:
        urls = [f"http://127.0.0.1:{port}" for port in self._ports]
        chance = random.Random(self._chance.random())
        return Editor(f"editor{number}", urls, EDITIONS, self.ledger, chance, self._pace, self._working, self._deeds)

    async def _ready(self, http: httpx.AsyncClient) -> bool:
        try:
            answers = [await http.get(f"http://127.0.0.1:{port}/readyz") for port in self._ports]
        except httpx.TransportError:
            return False
        return all(answer.status_code == 200 for answer in answers)

    async def _until(self, look: Callable[[], Awaitable[bool]], what: str, seconds: float = DEADLINE_SECONDS) -> None:
        ends = time.monotonic() + seconds
        while not await look():
            assert time.monotonic() < ends, f"waited {seconds:g} s in vain for {what}"
            await asyncio.sleep(0.02)


def _check_alive(tasks: list[asyncio.Task[None]]) -> None:
    """Readers and editors never end by themselves: one that did met an answer that it does not understand."""
    for task in tasks:
        if task.done():
            task.result()


def _whole(service: Service, code: str) -> int:
    """Where the log will be once everything that waits now is in it."""
    keys = Keys.of(code)
    while True:
        try:
            with service.redis.pipeline(transaction=True) as pipe:
                pipe.hget(keys.meta, "seq")
                pipe.llen(keys.outbox)
                seq, waiting = pipe.execute()
        except (RedisError, OSError):
            time.sleep(0.05)
            continue
        return int(seq or 0) + int(waiting)


def _waiting(service: Service, code: str) -> int:
    try:
        return int(service.redis.llen(Keys.of(code).outbox))
    except (RedisError, OSError):
        return 1


def _brief(items: list[object]) -> list[object]:
    return [(item["id"], item["version"]) for item in items]  # type: ignore[index]


async def main(seed: int, seconds: float, folder: Path) -> int:
    """Run one campaign for a terminal; returns the exit status."""
    print(f"seed {seed}: a campaign of {seconds:.0f} s", file=sys.stderr, flush=True)
    campaign = Campaign(folder, seed, seconds)
    report = await campaign.run(lambda text: print(text, file=sys.stderr, flush=True))
    print(report.table())
    return 1 if report.violations else 0
