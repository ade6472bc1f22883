"""The audit's chain: whatever is done to an entry afterwards shows."""

import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from service.domain import lifecycle
from service.domain.item import Change
from service.errors import TakenError
from service.store import audit
from service.store.audit import AuditEntry, entries, extent, of_item
from service.store.chain import START, Chain, digest_of, link_after
from service.store.keys import Keys
from service.store.outbox import Outbox, breaking_queue
from tests.integration.harness import Service
from tests.unit.samples import EN, NOW_MS, draft

KEYS = Keys.of("en")
Fields = dict[bytes, bytes]
Rows = list[tuple[bytes, Fields]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A Redis and the command; no process is needed."""
    with Service(tmp_path_factory.mktemp("audit")) as started:
        yield started


@pytest.fixture
def service(running: Service) -> Service:
    running.redis.flushall()
    return running


@pytest.fixture
def outbox(service: Service) -> Outbox:
    return Outbox(service.redis, breaking_queue(service.redis))


def publish(outbox: Outbox, *names: str) -> None:
    for name in names:
        outbox.accept(lifecycle.create(EN, draft(id=name), state="live", by="ann", now_ms=NOW_MS))


def rows(service: Service) -> Rows:
    found: Rows = service.redis.xrange(KEYS.audit)
    return found


def rewrite(service: Service, change: Callable[[Rows], Rows]) -> None:
    """Do to the stream what somebody with all of Redis might: write it anew, with the same ids where they rise."""
    changed = change(rows(service))
    service.redis.delete(KEYS.audit)
    for entry_id, fields in changed:
        service.redis.xadd(KEYS.audit, fields, id=entry_id)


def verify(service: Service, *options: str) -> subprocess.CompletedProcess[str]:
    done = service.command("audit", "verify", *options)
    assert "Traceback" not in done.stderr
    return done


def export(service: Service, name: str, *options: str) -> Path:
    path = service.folder / name
    done = service.command("audit", "export", "--output", str(path), *options)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, given: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in given))


def test_the_chain_is_unbroken_under_many_writers(service: Service) -> None:
    def work(writer: int) -> None:
        outbox = Outbox(service.redis, breaking_queue(service.redis))
        publish(outbox, *(f"w{writer}-{number}" for number in range(25)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    head = START
    for number, (_, fields) in enumerate(rows(service), 1):
        head = link_after(head, digest_of(fields[b"entry"]))
        assert (fields[b"n"], fields[b"link"]) == (str(number).encode(), head.encode())
    assert service.redis.hmget(KEYS.meta, "audit_count", "audit_head") == [b"200", head.encode()]
    done = verify(service)
    assert done.returncode == 0, done.stdout
    assert "en: 200 entries, from " in done.stdout
    assert "unbroken\n" in done.stdout
    assert "ar: 0 entries\n" in done.stdout


def test_a_refused_change_takes_no_place_in_the_chain(service: Service, outbox: Outbox) -> None:
    publish(outbox, "a")
    with pytest.raises(TakenError):
        publish(outbox, "a")
    assert service.redis.hget(KEYS.meta, "audit_count") == b"1"
    assert len(rows(service)) == 1


def edited(given: Rows) -> Rows:
    fields = given[2][1]
    fields[b"entry"] = fields[b"entry"].replace(b'"by":"ann"', b'"by":"bob"')
    return given


def swapped(given: Rows) -> Rows:
    (first, left), (second, right) = given[1:3]
    return [given[0], (first, right), (second, left), *given[3:]]


def swapped_but_for_their_places(given: Rows) -> Rows:
    (first, left), (second, right) = given[1:3]
    left[b"n"], right[b"n"] = right[b"n"], left[b"n"]
    return [given[0], (first, right), (second, left), *given[3:]]


def inserted(given: Rows) -> Rows:
    """One without a link, as they were before there was a chain."""
    entry_id = given[1][0].split(b"-")[0] + b"-999999"
    return sorted([*given, (entry_id, {b"entry": given[0][1][b"entry"]})], key=lambda row: row[0])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (edited, "n 3, id {2}: expected the link "),
        (lambda given: given[:2] + given[3:], "n 3, id {3}: expected n 3, got 4"),
        (lambda given: given[1:], "n 1: expected the first entry, got n 2 (id {1})"),
        (lambda given: given[:-2], "at the end: expected n 5 to be the last, got n 3 (id {2})"),
        (lambda given: [], "at the end: expected n 5 to be the last, got n 0"),
        (swapped, "n 2, id {1}: expected n 2, got 3"),
        (swapped_but_for_their_places, "n 2, id {1}: expected the link "),
        (inserted, "expected n "),
    ],
    ids=["edited", "deleted", "first cut", "tail cut", "all gone", "swapped", "swapped with n", "inserted"],
)
def test_tampering_is_found_where_it_is(
    service: Service, outbox: Outbox, change: Callable[[Rows], Rows], says: str
) -> None:
    publish(outbox, "a", "b", "c", "d", "e")
    assert verify(service).returncode == 0
    ids = [entry_id.decode() for entry_id, _ in rows(service)]
    rewrite(service, change)
    done = verify(service, "--edition", "en")
    assert done.returncode == 1
    assert done.stdout.startswith("en: BROKEN: ")
    assert says.format(*ids) in done.stdout
    # What was taken out by then is taken out of the export, too.
    assert verify(service, str(export(service, "tampered.jsonl")), "--edition", "en").returncode == (
        0 if says.startswith("n 1:") else 1
    )


def test_an_end_of_the_chain_that_was_forged_is_found(service: Service, outbox: Outbox) -> None:
    publish(outbox, "a", "b")
    service.redis.hset(KEYS.meta, "audit_head", "0" * 40)
    assert "n 2: expected the last link " in verify(service).stdout
    service.redis.hdel(KEYS.meta, "audit_head", "audit_count")
    assert verify(service).returncode == 1


def test_an_export_is_verified_from_the_file_alone(service: Service, outbox: Outbox) -> None:
    publish(outbox, "a", "b", "c")
    stored = [fields[b"entry"].decode() for _, fields in rows(service)]
    path = export(service, "whole.jsonl")
    found = [line for line in lines(path) if line["edition"] == "en"]
    assert [line["entry"] for line in found[:-1]] == stored
    assert found[-1] == {"edition": "en", "count": 3, "head": found[-2]["link"]}
    service.redis.flushall()
    done = verify(service, str(path))
    assert done.returncode == 0
    assert "en: 3 entries" in done.stdout
    given = lines(path)
    place = given.index(found[1])
    for tampered in (
        [*given[:place], found[1] | {"entry": found[1]["entry"].replace("ann", "bob")}, *given[place + 1 :]],
        given[:place] + given[place + 1 :],
        given[: place + 1],
        [line for line in given if line != found[-1]],
        [line for line in given if line.get("n") != 3],
    ):
        write(path, tampered)
        assert verify(service, str(path)).returncode == 1
    path.write_text("no export\n")
    done = verify(service, str(path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "line 1: expected a line of an export" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_part_of_the_log_is_exported_by_time(service: Service, outbox: Outbox) -> None:
    publish(outbox, "a", "b", "c", "d")
    # Moments of their own: Redis's clock gave all four nearly the same one.
    rewrite(service, lambda given: [(f"{place}000-0".encode(), row[1]) for place, row in enumerate(given, 1)])
    path = export(
        service, "part.jsonl", "-e", "en", "--since", "1970-01-01T00:00:02Z", "--until", "1970-01-01T00:00:03Z"
    )
    assert [line.get("n") for line in lines(path)] == [2, 3, None]
    done = verify(service, str(path))
    assert done.returncode == 0
    assert "2 entries" in done.stdout
    assert done.stdout.endswith("unbroken; starts at n 2\n")
    first, *rest = lines(path)
    write(path, [first | {"entry": first["entry"].replace("ann", "bob")}, *rest])
    assert verify(service, str(path)).returncode == 1
    nothing = export(service, "none.jsonl", "-e", "en", "--since", "2200-01-01T00:00:00Z")
    assert verify(service, str(nothing)).stdout == "en: 0 entries\n"
    done = service.command("audit", "export", "--since", "yesterday")
    assert done.returncode == 1
    assert "(--since)" in done.stderr


def test_an_earlier_export_shows_a_chain_that_was_made_anew(service: Service, outbox: Outbox) -> None:
    publish(outbox, "a", "b")
    older = str(export(service, "older.jsonl"))
    publish(outbox, "c")
    assert verify(service, "--earlier", older).returncode == 0
    assert verify(service, str(export(service, "newer.jsonl")), "--earlier", older).returncode == 0
    done = verify(service, older, "--earlier", str(service.folder / "newer.jsonl"))
    assert done.returncode == 1
    assert "expected n 3 of the earlier export" in done.stdout
    # Somebody who knows how writes another history, whole in itself.
    service.redis.flushall()
    publish(outbox, "a", "x", "c")
    assert verify(service).returncode == 0
    done = verify(service, "--earlier", older)
    assert done.returncode == 1
    assert "of the earlier export" in done.stdout


def test_trimmed_entries_are_no_fault(service: Service, outbox: Outbox) -> None:
    publish(outbox, *(f"i{number}" for number in range(5)))
    older = str(export(service, "untrimmed.jsonl"))
    service.redis.xtrim(KEYS.audit, maxlen=3, approximate=False)
    now = extent(service.redis, "en")
    chain = Chain("en", kept=(3, now.kept))
    for each in entries(service.redis, "en"):
        chain.add(each)
    chain.close(now.end)
    assert (chain.fault, chain.length, chain.anchored) == (None, 3, False)
    assert chain.first is not None
    assert chain.first.n == 3
    done = verify(service, str(export(service, "trimmed.jsonl")), "--earlier", older)
    assert done.returncode == 0
    assert "starts at n 3\n" in done.stdout
    assert "only an earlier export can prove" in verify(service, str(service.folder / "trimmed.jsonl")).stdout


def test_entries_from_before_the_chain_are_read_and_counted(service: Service, outbox: Outbox) -> None:
    decision = lifecycle.create(EN, draft(id="a"), state="live", by="ann", now_ms=NOW_MS)
    old = {"at": decision.record.changed_at, "id": "a", "action": "publish", "by": "ann"}
    old |= {"version": 1, "rev": 1, "state": "live", "address": None, "note": None}
    service.redis.xadd(KEYS.audit, {"entry": json.dumps(old)}, id=f"{NOW_MS}-0")
    (read,) = of_item(service.redis, decision.record)
    assert (read.by, read.before, read.fields) == ("ann", None, ())
    publish(outbox, "b")
    done = verify(service)
    assert done.returncode == 0
    assert "en: 1 entries" in done.stdout
    assert "1 older ones have no link" in done.stdout
    assert verify(service, str(export(service, "old.jsonl"))).returncode == 0


def test_an_entry_tells_before_and_after_without_the_text(service: Service, outbox: Outbox) -> None:
    first = lifecycle.create(EN, draft(id="a", headline="Secret one"), state="live", by="ann", now_ms=NOW_MS)
    given = Change(change="update", headline="Secret two", urgency=1)
    second = lifecycle.change(EN, first.record, given, version=None, by="ann", now_ms=NOW_MS)
    third = lifecycle.act(second.record, "pin", version=None, by="ann", now_ms=NOW_MS)
    killed = lifecycle.act(third.record, "kill", version=None, by="ann", now_ms=NOW_MS, note="court order")
    for decision in (first, second, third, killed):
        outbox.accept(decision)
    told = [json.loads(fields[b"entry"]) for _, fields in rows(service)]
    assert [entry["before"] for entry in told] == [
        None,
        {"version": 1, "state": "live"},
        {"version": 2, "state": "live"},
        {"version": 3, "state": "live"},
    ]
    assert [entry["fields"] for entry in told] == [[], ["urgency", "headline"], ["pinned"], []]
    assert b"Secret" not in b"".join(value for _, fields in rows(service) for value in fields.values())
    assert "Secret" not in export(service, "killed.jsonl").read_text()
    assert AuditEntry.of(killed, None).note == "court order"


def test_the_entries_of_a_line_are_found_at_both_ends_of_a_long_life(
    service: Service, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "SCANNED", 4)
    made = lifecycle.create(EN, draft(id="a"), state="live", by="ann", now_ms=NOW_MS)
    outbox.accept(made)
    publish(outbox, *(f"b{number}" for number in range(6)))
    killed = lifecycle.act(made.record, "kill", version=None, by="ann", now_ms=NOW_MS + 9_000, note="court order")
    outbox.accept(killed)
    # When Redis wrote them, had its clock been at the moment of the sample.
    rewrite(service, lambda given: [(f"{NOW_MS + place}-0".encode(), row[1]) for place, row in enumerate(given)])
    assert [entry.action for entry in of_item(service.redis, killed.record)] == ["publish", "kill"]


def test_a_look_at_the_newest_is_bounded_and_goes_on_where_it_stopped(
    service: Service, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "LOOKED_THROUGH", 4)
    monkeypatch.setattr(audit, "CHUNK", 3)
    publish(outbox, "first")
    outbox.accept(lifecycle.create(EN, draft(id="x"), state="draft", by="Bob", now_ms=NOW_MS))
    publish(outbox, *(f"b{number}" for number in range(5)))
    look = audit.Look(editor="bob")
    found, onward = audit.newest(service.redis, "en", look, 10, None)
    assert found == []
    assert onward == rows(service)[3][0].decode()
    found, onward = audit.newest(service.redis, "en", look, 10, onward)
    assert [each.entry.id for each in found if each.entry] == ["x"]
    assert onward is None
    every = audit.newest(service.redis, "en", audit.Look(), 3, None)[0]
    assert [each.place.n for each in every] == [7, 6, 5]


def test_the_commands_say_on_one_line_what_is_wrong(service: Service) -> None:
    done = verify(service, "--edition", "xx")
    assert done.returncode == 1
    assert "expected one of the editions" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert verify(service, "no-such-file").returncode == 2
