"""Faults: what goes wrong in a campaign. Each begins, lasts for a while, and ends; what it broke by force is started
again at once, as a supervisor does it.
"""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from redis.exceptions import RedisError

from service.store.keys import CLOCK_LEASE, Keys
from tests.faults.editors import Editor
from tests.faults.oracle import SILENT_SECONDS, Oracle
from tests.faults.proxy import Proxy
from tests.faults.readers import Reader
from tests.integration.harness import Service, until


@dataclass
class Stage:
    """What faults happen to. `proxies` are the processes' ways to Redis, by the process's name."""

    service: Service
    proxies: dict[str, Proxy]
    readers: list[Reader]
    start: Callable[[str], None]
    chance: random.Random
    editors: list[Editor]
    # Editors begin nothing new while it is not set.
    working: asyncio.Event
    oracle: Oracle
    editions: tuple[str, ...]

    def some_process(self, *kinds: str) -> str:
        """The name of a process, of these kinds if any are given."""
        names = [name for name in self.service.processes if not kinds or name.rstrip("0123456789") in kinds]
        return self.chance.choice(names)

    def waiting(self) -> int:
        """How many changes wait in the outboxes; Redis must answer."""
        return sum(int(self.service.redis.llen(Keys.of(code).outbox)) for code in self.editions)

    async def replace(self, name: str) -> None:
        """Kill a process and start it again."""
        process = self.service.processes[name]
        process.kill()
        await asyncio.to_thread(process.wait)
        self.start(name)


Fault = Callable[[Stage], Awaitable[None]]


async def kill(stage: Stage) -> None:
    await stage.replace(stage.some_process())


async def kill_both(stage: Stage) -> None:
    """Both processes of a kind at once: nobody is left to take over."""
    kind = stage.chance.choice(("web", "worker", "clock"))
    await asyncio.gather(*(stage.replace(name) for name in stage.proxies if name.startswith(kind)))


async def stand_still(stage: Stage) -> None:
    """SIGSTOP and SIGCONT: a process that misses seconds and does not know it."""
    process = stage.service.processes[stage.some_process()]
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(stage.chance.uniform(0.2, 4))
    process.send_signal(signal.SIGCONT)


async def kill_redis(stage: Stage) -> None:
    def replace() -> None:
        server = stage.service.redis_server
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: server.returncode is not None, "Redis to be dead")
        server.respawn()

    await asyncio.to_thread(replace)


async def pause_redis(stage: Stage) -> None:
    """Redis stands still for 5 s: connections stay, nothing is answered."""
    pid = stage.service.redis_server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(5)
    os.kill(pid, signal.SIGCONT)


async def cut(stage: Stage) -> None:
    stage.proxies[stage.some_process()].cut()


async def unreachable(stage: Stage) -> None:
    """A process's connections to Redis are cut, and new ones refused for a while."""
    proxy = stage.proxies[stage.some_process()]
    proxy.refuse()
    await asyncio.sleep(stage.chance.uniform(0.3, 3))
    proxy.heal()


async def delay(stage: Stage) -> None:
    proxy = stage.proxies[stage.some_process()]
    proxy.delay(stage.chance.uniform(0.02, 0.4))
    await asyncio.sleep(stage.chance.uniform(0.5, 3))
    proxy.heal()


async def swallow(stage: Stage) -> None:
    """A process's connections to Redis look healthy and carry nothing."""
    proxy = stage.proxies[stage.some_process()]
    proxy.swallow()
    await asyncio.sleep(stage.chance.uniform(0.5, 5))
    proxy.heal()
    if stage.chance.random() < 0.5:
        proxy.cut()


async def cut_after_a_reply(stage: Stage) -> None:
    """A process's connections are cut between two commands of its own."""
    await _after_a_reply(stage, stage.some_process(), None)


async def kill_worker_after_a_reply(stage: Stage) -> None:
    """A worker is killed between two commands of its own."""
    name = stage.some_process("worker")
    await _after_a_reply(stage, name, stage.service.processes[name].kill)
    await stage.replace(name)


async def _after_a_reply(stage: Stage, name: str, then: Callable[[], None] | None) -> None:
    proxy = stage.proxies[name]
    done = asyncio.Event()

    def act() -> None:
        (then or proxy.cut)()
        done.set()

    proxy.cut_after(stage.chance.randint(1, 40), act)
    with suppress(TimeoutError):
        # A process that stands by sends little: then this fault did not happen after all.
        async with asyncio.timeout(2):
            await done.wait()
    proxy.heal()


async def reset_clients(stage: Stage) -> None:
    """A third of the readers lose their connections at once."""
    for reader in stage.chance.sample(stage.readers, len(stage.readers) // 3):
        reader.reset()


async def lose_lease(stage: Stage) -> None:
    """Somebody else has the clock's lease for a while: no embargo ends, no beat, no sweep."""
    with suppress(RedisError):
        await asyncio.to_thread(stage.service.redis.set, CLOCK_LEASE, "nobody", px=stage.chance.randint(200, 2500))


async def lose_subscriptions(stage: Stage) -> None:
    with suppress(RedisError):
        await asyncio.to_thread(stage.service.redis.execute_command, "CLIENT", "KILL", "TYPE", "pubsub")


async def forget_scripts(stage: Stage) -> None:
    with suppress(RedisError):
        await asyncio.to_thread(stage.service.redis.script_flush)


async def lose_wakeups(stage: Stage) -> None:
    """The queue loses its jobs, and no later change wakes a worker for what waits in the outboxes."""
    # Held by their proxies, not stopped: a wake-up that a waiting worker was sent already is lost with its connection.
    ways = [proxy for name, proxy in stage.proxies.items() if name.startswith("worker")]
    for proxy in ways:
        proxy.swallow()
    # Until something waits that only a wake-up brings out.
    with suppress(TimeoutError, RedisError):
        async with asyncio.timeout(5):
            while not await asyncio.to_thread(stage.waiting):
                await asyncio.sleep(0.02)
    stage.working.clear()
    while any(editor.busy for editor in stage.editors):
        await asyncio.sleep(0.01)
    with suppress(RedisError):
        await asyncio.to_thread(stage.service.redis.delete, "rq:queue:breaking")
    for proxy in ways:
        proxy.cut()
        proxy.heal()
    try:
        async with asyncio.timeout(8):
            while await asyncio.to_thread(stage.waiting):
                await asyncio.sleep(0.05)
    except TimeoutError:
        stage.oracle.bad("lost", "changes wait in an outbox, and nobody takes them")
    stage.working.set()


async def deafen(stage: Stage) -> None:
    """A web process's connections to Redis look healthy and carry nothing for longer than anybody may be silent."""
    proxy = stage.proxies[stage.some_process("web")]
    proxy.swallow()
    await asyncio.sleep(SILENT_SECONDS + 2)
    proxy.heal()


FAULTS: dict[Fault, int] = {
    kill: 16,
    kill_both: 5,
    stand_still: 8,
    kill_redis: 5,
    pause_redis: 2,
    cut: 12,
    unreachable: 7,
    delay: 7,
    swallow: 7,
    cut_after_a_reply: 10,
    kill_worker_after_a_reply: 9,
    reset_clients: 6,
    lose_lease: 4,
    lose_subscriptions: 5,
    forget_scripts: 3,
    lose_wakeups: 3,
    deafen: 1,
}
