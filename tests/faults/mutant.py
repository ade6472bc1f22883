"""Mutant: one process of the service with one bug that was put in on purpose, to see whether the oracle finds it.

    python tests/faults/mutant.py <bug>

Each bug replaces text of one module before anything else is imported; text that is not there (any more) is an error.
"""

import importlib
import inspect
import sys
from typing import NamedTuple


class Bug(NamedTuple):
    """Which kind of process has it, in which module, and what is replaced by what."""

    process: str
    module: str
    changes: tuple[tuple[str, str], ...]


# Where the service heals a bug by a second means, that means is taken out too, or the instant is made longer; else
# there would be nothing to find. What is replaced stands beside each.
BUGS = {
    # Read the log first and subscribe then. The seqs would show the hole, and the stream fill it: so no hole is filled.
    "replays before it subscribes": Bug(
        "web",
        "service.gateway.feed",
        (
            (
                "                subscribe = pubsub.ssubscribe",
                "                for ticker in self._tickers.values():\n"
                "                    await self._catch_up(ticker)\n"
                "                await asyncio.sleep(0.3)\n"
                "                subscribe = pubsub.ssubscribe",
            ),
            (
                "                    await self._catch_up(ticker)\n            now =",
                "                    pass\n            now =",
            ),
            (
                '                    await self._catch_up(self._channels[message["channel"]])',
                "                    pass",
            ),
            ("        while ticker.seq < up_to:", "        while False:"),
        ),
    ),
    # Nobody wakes a worker again for what a dead one left. The next canary would: so there is only the first one.
    "sweeps no outbox": Bug(
        "clock",
        "workers.clock",
        (
            ("                    await self._sweep_one(code)", "                    await asyncio.sleep(0)"),
            ("CANARY_LOOK_SECONDS = 1.0", "CANARY_LOOK_SECONDS = 3_600.0"),
        ),
    ),
    # What was read while the subscription was new comes by the subscription, too.
    "forgets what it has seen": Bug(
        "web",
        "service.gateway.feed",
        (
            (
                "        if cursor.seq > ticker.seq:\n            self._apply",
                "        if True:\n            self._apply",
            ),
            (
                "            for ticker in self._tickers.values():\n                async with",
                "            await asyncio.sleep(0.3)\n"
                "            for ticker in self._tickers.values():\n                async with",
            ),
        ),
    ),
    # The news goes out before it has its place in the log; a kill that comes between takes that place.
    "publishes outside the step": Bug(
        "worker",
        "service.store.log",
        (
            (
                "        waiting, *rows = append_script.run(",
                "        _publish(redis, keys)\n        waiting, *rows = append_script.run(",
            ),
            ("edition.log, *_words(redis, keys.news)", "edition.log, *_words(redis, 'nobody')"),
            (
                "\n\ndef landed(",
                """

def _publish(redis, keys):
    import json, time
    epoch, seq = (part.decode() for part in redis.hmget(keys.meta, ["epoch", "seq"]))
    place = int(seq)
    for raw in redis.lrange(keys.outbox, 0, STEP - 1):
        entry = json.loads(raw)
        if entry["kind"] == "canary":
            canary = {"type": "canary", "cursor": f"{epoch}.{place}", "accepted": entry["accepted"]}
            redis.publish(keys.news, json.dumps(canary))
            continue
        place += 1
        frame = {"type": entry["kind"], "cursor": f"{epoch}.{place}"}
        if "wire" in entry:
            frame["item"] = json.loads(entry["wire"])
        else:
            frame |= {"id": entry["id"], "version": entry["version"], "reason": entry["reason"]}
        redis.publish(keys.news, json.dumps(frame))
    time.sleep(0.05)


def landed(""",
            ),
        ),
    ),
    # TCP that looks healthy is taken for a subscription that lives.
    "ignores the beat": Bug("web", "service.gateway.feed", (("SILENCE_SECONDS = 3.0", "SILENCE_SECONDS = 3_600.0"),)),
}


def infect(bug: Bug) -> None:
    """Import the module with the bug in it.

    Raises:
        AssertionError: the text that it replaces is not in the module.
    """
    module = importlib.import_module(bug.module)
    source = inspect.getsource(module)
    for before, after in bug.changes:
        assert source.count(before) == 1, f"{bug.module}: expected once: {before!r}"
        source = source.replace(before, after)
    exec(compile(source, str(module.__file__), "exec"), module.__dict__)


def main(name: str) -> None:
    """Run the process."""
    bug = BUGS[name]
    infect(bug)
    if bug.process == "web":
        from service.cli import main as stoppress

        sys.argv = ["stoppress", "web"]
        stoppress()
    else:
        from workers.__main__ import main as work

        sys.exit(work(["breaking" if bug.process == "worker" else bug.process]))


if __name__ == "__main__":
    main(sys.argv[1])
