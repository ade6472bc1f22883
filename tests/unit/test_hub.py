"""Hub: each reader gets each change once and in order, whatever comes between two writes of a pass.

The transports and their sockets are fakes that say when they are full, Redis is a list; all else is real, on a real
loop. A number that a socket had is given to the next one, as the kernel does.
"""

import asyncio
import errno
import gc
import itertools
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from service.domain import ticker as ticker_module
from service.domain.cursor import Cursor
from service.domain.edition import Editions
from service.domain.frames import (
    Beat,
    Behind,
    Change,
    Close,
    ItemChanged,
    Notice,
    Removed,
    Resumed,
    Snapshot,
    decode_message,
    encode,
)
from service.domain.item import Item
from service.domain.selection import EVERYTHING, Selection
from service.domain.ticker import Past, Ticker, place
from service.gateway import delivery as delivery_module
from service.gateway import hub as hub_module
from service.gateway import portion as portion_module
from service.gateway import replay as replay_module
from service.gateway.door import Door, Wish
from service.gateway.hub import Hub
from service.gateway.reader import Reader
from service.gateway.replay import Replay
from service.settings import Settings
from tests.unit.samples import EN, item

SIZE = 3
# So small that histories run out of them.
RING, CHUNK, LOG = 6, 4, 14
WRITE = 600  # two lines
# No file of this process has so high a number.
SOCKETS = 1_000_000
REAL_WRITE = os.write
POLITICS = Selection(sections=frozenset({"politics"}))
SELECTIONS = (EVERYTHING, POLITICS, Selection(regions=frozenset({"asia"})), Selection(urgency=2))


def masked(opcode: int, payload: bytes) -> bytes:
    """A client's frame (RFC 6455, section 5.2), with a mask of zeros."""
    assert len(payload) < 126
    return bytes((0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0)) + payload


class Socket:
    """What a transport says of its socket."""

    def __init__(self, number: int) -> None:
        self.number = number

    def fileno(self) -> int:
        return self.number


class Client:
    """A reader written from the protocol, and what stands for its network. Fails at once on a wrong frame."""

    def __init__(self, world: "World", selection: Selection) -> None:
        self.world = world
        self.selection = selection
        self.reader: Reader | None = None
        self.lines: dict[str, Item] = {}
        self.cursor: Cursor | None = None
        self.acked: Cursor | None = None
        # Whether its network takes nothing more; whether something waits in the buffer already.
        self.stuck = False
        self.full = False
        # Some have a socket that can be written to; what it took of a write that goes on.
        self.socket = world.open_socket(self) if world.dice.random() < 0.7 else None
        self.half = b""
        self.writes: list[bytes] = []
        self.messages: list[Any] = []
        self.closed: Close | None = None
        self.expects: Cursor | None = None

    # The transport.

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, Reader)
        self.reader = protocol

    def get_extra_info(self, name: str) -> Any:
        return self.socket if name == "socket" else None

    def write(self, data: bytes) -> None:
        assert self.reader is not None
        self._accept(data)
        data, self.half = self.half + data, b""
        self.writes.append(data)
        if self.stuck:
            self.full = True
            self.reader.pause_writing()
        self._parse(data)

    def take(self, data: bytes) -> int:
        """What the socket does with a write past the transport."""
        self._accept(data)
        assert not self.half, "something was written behind half a frame"
        if self.stuck:
            taken = self.world.dice.randrange(len(data))
            if not taken:
                raise BlockingIOError(errno.EAGAIN, "full")
            self.half = data[:taken]
            return taken
        self.writes.append(data)
        self._parse(data)
        return len(data)

    def _accept(self, data: bytes) -> None:
        assert data, "an empty write costs a system call"
        assert not self.full, "something was written to a reader that had not drained: its memory is not bounded"
        assert self.closed is None, "something was written after the close frame"

    def close(self) -> None:
        self.vanish()

    def abort(self) -> None:
        self.vanish()

    # What happens to it.

    def drain(self) -> None:
        self.stuck = False
        if self.full:
            self.full = False
            assert self.reader is not None
            self.reader.resume_writing()

    def vanish(self) -> None:
        assert self.reader is not None
        asyncio.get_running_loop().call_soon(self.lose)

    def lose(self) -> None:
        """The connection ends: the transport says so, then its socket's number is free."""
        assert self.reader is not None
        self.reader.connection_lost(None)
        self.world.close_socket(self)

    def pong(self) -> None:
        assert self.reader is not None
        if not self.reader.gone:
            self.reader.data_received(masked(0xA, b""))

    def ack(self) -> None:
        assert self.reader is not None
        if self.cursor is not None and self.closed is None:
            self.reader.data_received(masked(1, f'{{"type":"ack","cursor":"{self.cursor}"}}'.encode()))
            if self.cursor.seq <= self.world.ticker.seq and self.cursor.epoch == self.world.ticker.epoch:
                self.acked = self.cursor

    def shows(self) -> list[Item]:
        return sorted(self.lines.values(), key=place, reverse=True)[:SIZE]

    def _parse(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            opcode, size = data[at], data[at + 1]
            at += 2
            if size == 126:
                size = int.from_bytes(data[at : at + 2], "big")
                at += 2
            assert size != 127
            payload = data[at : at + size]
            assert len(payload) == size, "a frame was cut"
            at += size
            if opcode == 0x89:
                asyncio.get_running_loop().call_soon(self.pong)
            elif opcode == 0x88:
                self.closed = Close(int.from_bytes(payload[:2], "big"))
                assert at == len(data)
            else:
                assert opcode == 0x81
                self._take(decode_message(payload))

    def _take(self, message: Any) -> None:
        self.messages.append(message)
        if len(self.messages) == 1:
            assert isinstance(message, Snapshot | Resumed), f"the first message was {message}"
        match message:
            case Snapshot(cursor=text, items=items):
                cursor = Cursor.parse(text)
                if self.cursor is not None and self.cursor.epoch == cursor.epoch:
                    assert cursor.seq >= self.cursor.seq, f"the snapshot went back from {self.cursor} to {cursor}"
                self.cursor = cursor
                self.lines = {line.id: line for line in items}
            case Resumed(cursor=text):
                assert Cursor.parse(text) == self.cursor == self.expects
            case ItemChanged(cursor=text) | Removed(cursor=text):
                cursor = Cursor.parse(text)
                assert self.cursor is not None
                assert cursor.epoch == self.cursor.epoch, f"{message} without a snapshot, at {self.cursor}"
                assert cursor.seq > self.cursor.seq, f"twice or out of order: {cursor} at {self.cursor}"
                self.world.nothing_between(self, self.cursor, cursor.seq - 1)
                self.cursor = cursor
                if isinstance(message, ItemChanged):
                    self.lines[message.item.id] = message.item
                else:
                    self.lines.pop(message.id, None)
            case Beat(cursor=text):
                cursor = Cursor.parse(text)
                assert self.cursor is not None
                assert cursor.epoch == self.cursor.epoch, f"a beat of {cursor} at {self.cursor}"
                assert cursor.seq >= self.cursor.seq, f"a beat went back from {self.cursor} to {cursor}"
                self.world.nothing_between(self, self.cursor, cursor.seq)
                self.cursor = cursor
            case other:
                assert isinstance(other, Behind | Notice)


class World:
    """A log, a process's ticker that hears it sooner or later, its Hub, and the readers."""

    def __init__(self, seed: int = 0, turn_seconds: float = 3600.0) -> None:
        self.dice = random.Random(seed)
        self.edition = msgspec.structs.replace(EN, size=SIZE, log=LOG)
        self.ticker = Ticker(self.edition)
        replay = Replay(None)  # type: ignore[arg-type]
        self.hub = Hub({"en": self.ticker}, replay, turn_seconds=turn_seconds)
        self.door = Door(Settings(), Editions({"en": self.edition}), self.hub)
        self.replay = replay
        self.clients: list[Client] = []
        self.sockets: dict[int, Client] = {}
        self.begin(0)
        self.hear_all()

    @property
    def audience(self) -> hub_module.Audience:
        return self.hub.audiences["en"]

    # The log. `truth` is what it says, `stream` what a replay finds.

    def begin(self, changes: int) -> None:
        """Start a new log which has some changes already, and let the process hear of it."""
        self.epoch = f"e{self.dice.randrange(10**9)}"
        self.truth: list[Past] = []
        self.stream: dict[int, Past] = {}
        self.lines: dict[str, Item] = {}
        self.lines_at: list[dict[str, Item]] = [{}]
        self.killed: set[str] = set()
        for _ in range(changes):
            self.some_change()
        floor = max(0, self.seq - LOG)
        past = [each for seq, each in self.stream.items() if seq > max(floor, self.seq - RING)]
        self.ticker.load(
            self.epoch, self.seq, self.lines.values(), past, starts=max(floor, self.seq - RING), floor=floor
        )
        self.hub.restarted(self.ticker)

    @property
    def seq(self) -> int:
        return len(self.truth)

    def append(self, change: Callable[[str], Change]) -> int:
        """Write a change into the log. The process has not heard of it yet."""
        seq = self.seq + 1
        made = change(f"{self.epoch}.{seq}")
        subject = made.item.id if isinstance(made, ItemChanged) else made.id
        past = Past(seq, made, encode(made), self.lines.get(subject))
        if isinstance(made, ItemChanged):
            self.lines[subject] = made.item
        else:
            self.lines.pop(subject, None)
            if made.reason == "killed":
                self.killed.add(subject)
                self.stream = {at: each for at, each in self.stream.items() if each.subject != subject}
        self.truth.append(past)
        self.stream[seq] = msgspec.structs.replace(past, before=None, known=False)
        self.lines_at.append(dict(self.lines))
        return seq

    def hear(self, count: int = 1) -> None:
        """Let the process hear the next changes, as the Feed applies them."""
        for past in self.truth[self.ticker.seq : self.ticker.seq + count]:
            self.hub.changed(self.ticker, self.ticker.apply(past.seq, past.change, past.payload))

    def hear_all(self) -> None:
        self.hear(self.seq)

    def publish(self, item_id: str, **fields: Any) -> int:
        version = self.lines[item_id].version + 1 if item_id in self.lines else 1
        # The later the higher, unless said otherwise.
        fields = {"published_at": f"2026-11-24T03:{self.seq // 60:02}:{self.seq % 60:02}.000Z"} | fields
        seq = self.append(lambda cursor: ItemChanged(cursor, item(item_id, version=version, **fields)))
        self.hear_all()
        return seq

    def remove(self, item_id: str, reason: Any = "withheld") -> int:
        seq = self.append(lambda cursor: Removed(cursor, item_id, self.lines[item_id].version + 1, reason))
        self.hear_all()
        return seq

    def some_change(self) -> None:
        dice = self.dice
        known = sorted(self.lines)
        what = dice.choice(("new", "new", "edit", "edit", "withheld", "expired", "killed"))
        if what == "new" or not known:
            item_id = f"{dice.choice('zam')}{self.seq}"
            version, published = 1, f"2026-11-24T03:{self.seq // 60:02}:{self.seq % 60:02}.000Z"
        else:
            item_id = dice.choice(known)
            version, published = self.lines[item_id].version + 1, self.lines[item_id].published_at
        if what in ("withheld", "expired", "killed") and known:
            self.append(lambda cursor: Removed(cursor, item_id, version, what))  # type: ignore[arg-type]
            return
        line = item(
            item_id,
            version=version,
            published_at=published,
            section=dice.choice(("politics", "sports")),
            regions=dice.choice(((), ("asia",))),
            urgency=dice.randrange(1, 5),
            pinned=dice.random() < 0.1,
        )
        self.append(lambda cursor: ItemChanged(cursor, line))

    async def read_stream(self, redis: Any, edition: str, epoch: str, after: int, count: int) -> list[Past] | None:
        """Stands for `store.log.replay`."""
        await asyncio.sleep(0)
        if epoch != self.epoch or after < max(0, self.seq - LOG):
            return None
        found = [past for seq, past in sorted(self.stream.items()) if seq > after][:count]
        await asyncio.sleep(0)
        return found

    def nothing_between(self, client: Client, cursor: Cursor, upto: int) -> None:
        """Fail if a change that the client sees, after the cursor and up to a seq, has been passed over."""
        if cursor.epoch != self.epoch:
            return  # written when that log was the log; a snapshot must follow
        for past in self.truth[cursor.seq : upto]:
            if past.for_reader(client.selection) is not None and past.subject not in self.killed:
                raise AssertionError(f"{past.seq} was never sent to {client.selection} at {cursor}")

    # Readers.

    def join(self, selection: Selection = EVERYTHING, at: int | None = None, *, stuck: bool = False) -> Client:
        """Connect a reader, with a cursor if it was somewhere `at` a seq: it shows what it saw there."""
        client = Client(self, selection)
        client.stuck = stuck
        if at is not None:
            seen = [line for line in self.lines_at[at].values() if selection.matches(line)]
            client.lines = {line.id: line for line in sorted(seen, key=place, reverse=True)[:SIZE]}
            client.cursor = client.expects = Cursor(self.epoch, at)
        self.door.let_in(self.audience, Wish(selection, client.cursor), client, "192.0.2.1")
        self.clients.append(client)
        return client

    def leave(self, client: Client) -> None:
        self.clients.remove(client)
        client.lose()

    # Their sockets.

    def open_socket(self, client: Client) -> Socket:
        number = next(number for number in itertools.count(SOCKETS) if number not in self.sockets)
        self.sockets[number] = client
        return Socket(number)

    def close_socket(self, client: Client) -> None:
        if client.socket is not None and self.sockets.get(client.socket.number) is client:
            del self.sockets[client.socket.number]

    def write(self, fd: int, data: bytes) -> int:
        """Stands for `os.write`."""
        if fd < SOCKETS:
            return REAL_WRITE(fd, data)
        if fd not in self.sockets:
            raise OSError(errno.EBADF, "closed")
        return self.sockets[fd].take(data)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.hub.run()), asyncio.create_task(self.replay.run())]
        await self.settle()
        yield
        for task in tasks:
            assert not task.done(), task.exception()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def settle(self) -> None:
        """Let the Hub do everything it has to do."""
        idle = 0
        for _ in range(5_000):
            await asyncio.sleep(0)
            audience = self.audience
            waits = [each for each in audience.lagging if not each.paused]
            ahead = [each for each in audience.early if each.seq > self.ticker.seq]
            busy = audience.pending or audience.restarted or waits or len(audience.early) > len(ahead)
            idle = 0 if busy else idle + 1
            # A pass that is under way gives the loop back once a reader, with nothing to show for it outside.
            if idle > len(self.clients) + 10:
                return
        raise AssertionError(f"the Hub still has {audience.pending=} {audience.early=} {audience.lagging=}")

    def check(self) -> None:
        """Everyone who reads shows what is on air, has missed nothing, and is counted."""
        cursor = self.ticker.cursor
        for client in self.clients:
            if client.full:
                continue
            assert client.cursor is not None
            assert client.cursor.epoch == cursor.epoch, f"{client.selection} never heard of the new log"
            self.nothing_between(client, client.cursor, cursor.seq)
            assert client.shows() == self.ticker.shown(client.selection)
        assert self.hub.count == len(self.clients) == len(list(self.hub.readers()))
        screens = self.hub.sheet("en", 0).screens
        assert {each.selection: each.count for each in screens} == {
            selection: sum(client.selection == selection for client in self.clients)
            for selection in {client.selection for client in self.clients}
        }
        confirmed = sorted(
            client.acked.seq for client in self.clients if client.acked and client.acked.epoch == cursor.epoch
        )
        assert confirmed == sorted(seq for each in screens for seq, count in each.confirmed for _ in range(count))


@pytest.fixture
def slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass gives the loop back after each single write."""
    monkeypatch.setattr(delivery_module, "SLICE_SECONDS", -1.0)
    monkeypatch.setattr(delivery_module, "SLICE_WRITES", 1)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """So little memory that every history runs out of it."""
    monkeypatch.setattr(ticker_module, "RING", RING)
    monkeypatch.setattr(replay_module, "CHUNK", CHUNK)
    monkeypatch.setattr(portion_module, "LONGEST_WRITE", WRITE)


def world_of(monkeypatch: pytest.MonkeyPatch, seed: int = 0, turn_seconds: float = 3600.0) -> World:
    world = World(seed, turn_seconds)
    monkeypatch.setattr(replay_module.store, "replay", world.read_stream)
    monkeypatch.setattr(os, "write", world.write)
    return world


# Any schedule.


async def _any_schedule(world: World) -> None:
    dice = world.dice
    async with world.running():
        for _ in range(dice.randrange(20, 90)):
            clients = world.clients
            one = dice.choice(clients) if clients else None
            match dice.choices(
                (
                    "append",
                    "hear",
                    "join",
                    "ahead",
                    "back",
                    "leave",
                    "stick",
                    "drain",
                    "ack",
                    "restart",
                    "behind",
                    "yield",
                ),
                (10, 10, 6, 2, 6, 3, 6, 8, 4, 0.6, 1, 14),
            ):
                case ["append"]:
                    for _ in range(dice.choice((1, 1, 2, 5))):
                        world.some_change()
                case ["hear"]:
                    world.hear(dice.choice((1, 2, 9, 99)))
                case ["join"]:
                    world.join(dice.choice(SELECTIONS), stuck=dice.random() < 0.2)
                case ["ahead"]:
                    world.join(dice.choice(SELECTIONS), at=world.seq)
                case ["back"]:
                    world.join(dice.choice(SELECTIONS), at=dice.randint(0, world.seq), stuck=dice.random() < 0.2)
                case ["leave"] if one:
                    world.leave(one)
                case ["stick"] if one:
                    one.stuck = True
                case ["drain"]:
                    for each in dice.sample(clients, min(len(clients), dice.choice((1, 1, 3)))):
                        each.drain()
                case ["ack"] if one:
                    one.ack()
                case ["restart"]:
                    world.begin(dice.choice((0, 1, 4, 10, 25)))
                case ["behind"]:
                    world.hub.behind("2026-11-24T03:00:00.000Z", ["en"])
                    if dice.random() < 0.7:
                        world.hub.live_again(["en"])
                case ["yield"]:
                    for _ in range(dice.choice((1, 1, 2, 3, 8, 30))):
                        await asyncio.sleep(0)
        world.hear_all()
        await world.settle()
        world.check()  # with those that are stuck
        for each in world.clients:
            each.drain()
        await world.settle()
        world.check()
        world.hub.live_again(["en"])
        # One more change reaches all of them in the same pass: nobody was forgotten.
        world.publish("last", section="politics", regions=("asia",), urgency=1)
        await world.settle()
        for client in world.clients:
            assert client.cursor == world.ticker.cursor, f"{client.selection} was forgotten"
        world.check()


@pytest.mark.usefixtures("slices", "narrow")
@pytest.mark.parametrize("first", range(0, 600, 60))
def test_whatever_the_schedule_each_reader_gets_each_change_once_and_in_order(
    first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "TURNS", 3)
    monkeypatch.setattr(hub_module, "STRIKES", 1_000_000)  # the stuck ones stay, so that they are looked at
    for seed in range(first, first + 60):
        world = world_of(monkeypatch, seed, turn_seconds=0.0 if seed % 2 else 3600.0)
        try:
            asyncio.run(_any_schedule(world))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


def test_a_large_audience_is_out_of_the_collectors_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "MANY_MORE", 100)
    world = world_of(monkeypatch, turn_seconds=0.0)

    async def come_and_go() -> None:
        async with world.running():
            for come, go in ((99, 0), (1, 0), (30, 0), (100, 0), (0, 200), (99, 0), (71, 0)):
                for _ in range(come):
                    world.join()
                for _ in range(go):
                    world.leave(world.clients[0])
                await world.settle()
                mine = (each for each in gc.get_objects() if isinstance(each, Reader) and each.hub is world.hub)
                looked_at.append(sum(1 for _ in mine))

    looked_at: list[int] = []
    try:
        asyncio.run(come_and_go())
    finally:
        gc.unfreeze()
    assert looked_at == [99, 0, 30, 0, 0, 99, 0], "whenever there are 100 that it looks at; those that come again, too"


@pytest.mark.usefixtures("slices")
@pytest.mark.parametrize("lines", [("a",), ("a", "b")])
def test_a_kill_that_comes_while_the_text_goes_out_stops_it(
    lines: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = world_of(monkeypatch)

    async def kill_midway() -> None:
        async with world.running():
            clients = [world.join() for _ in range(6)]
            await world.settle()
            before = [len(client.messages) for client in clients]
            for item_id in lines:
                world.publish(item_id)
            for _ in range(3):
                await asyncio.sleep(0)
            world.remove("a", "killed")
            await world.settle()
            world.check()
            got = [client.messages[start:] for client, start in zip(clients, before, strict=True)]
            texts = [[message.item.id for message in each if isinstance(message, ItemChanged)] for each in got]
            had_it = [each for each in texts if "a" in each]
            assert 0 < len(had_it) < len(clients), "it was midway"
            assert all(each[-1].reason == "killed" for each in got), "everyone hears of the kill"
            assert all(set(each) - {"a"} == set(lines) - {"a"} for each in texts), "the other line got to all"

    asyncio.run(kill_midway())
