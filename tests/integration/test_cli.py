"""The `stoppress` command: what it does, and what it says when it cannot."""

import json
import os
import pty
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from service.domain.instant import format_ms
from tests.integration.harness import COMMAND, DEADLINE_SECONDS, Service, free_port, now_ms, until

COMMANDS = (
    ["up"],
    ["demo"],
    ["web"],
    ["worker"],
    ["clock"],
    ["publish"],
    ["correct"],
    ["kill"],
    ["ingest"],
    ["tail"],
    ["keys"],
    ["keys", "add"],
    ["keys", "list"],
    ["keys", "revoke"],
    ["audit"],
    ["audit", "export"],
    ["audit", "verify"],
)


@contextmanager
def tail(service: Service, *options: str) -> Iterator[Path]:
    """`stoppress tail` in the background; yields the file that it prints into."""
    path = service.folder / f"tail-{free_port()}.txt"
    with path.open("wb") as out, path.with_suffix(".err").open("wb") as err:
        process = subprocess.Popen([COMMAND, "tail", *options], env=service.env(), stdout=out, stderr=err)
        try:
            yield path
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
    assert "Traceback" not in path.with_suffix(".err").read_text()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_each_command_has_a_help_worth_reading(command: list[str]) -> None:
    done = subprocess.run([COMMAND, *command, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Usage: stoppress" in done.stdout
    assert len(done.stdout.splitlines()) >= 6


def test_a_line_is_published_with_everything_that_it_may_have(service: Service) -> None:
    done = service.command(
        *("publish", "Headline", "--edition", "en", "--urgency", "flash", "--speaker", "Ministry", "--outlet", "Radio"),
        *("--link", "https://example.org/", "--section", "politics", "--region", "mena", "--region", "africa"),
        *("--pin", "--id", "cli-1", "--expires", "2099-01-01T00:00:00Z"),
    )
    assert done.returncode != 0, "more than a year away"
    assert "within a year" in done.stderr
    assert "$.expires" in done.stderr
    done = service.command(
        *("publish", "Headline", "--edition", "en", "--urgency", "flash", "--speaker", "Ministry", "--outlet", "Radio"),
        *("--link", "https://example.org/", "--section", "politics", "--region", "mena", "--region", "africa"),
        *("--pin", "--id", "cli-1"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("live: cli-1 version 1, ")
    item = service.http.get("/v1/items/cli-1").json()["item"]
    assert (item["urgency"], item["speaker"], item["outlet"], item["pinned"]) == (1, "Ministry", "Radio", True)
    assert (item["section"], item["regions"], item["link"]) == ("politics", ["mena", "africa"], "https://example.org/")
    again = service.command("publish", "Another", "--id", "cli-1")
    assert again.returncode == 1
    assert "cli-1, which is taken" in again.stderr


def test_a_draft_and_an_embargo_stay_off_the_air(service: Service) -> None:
    assert service.command("publish", "Later", "--draft").stdout.startswith("draft: ")
    done = service.command("publish", "Tomorrow", "--embargo", "2099-01-01T00:00:00+01:00")
    assert "within a year" in done.stderr
    later = format_ms(now_ms() + 3_600_000)
    assert service.command("publish", "In an hour", "--at", later).stdout.startswith("scheduled: ")
    done = service.command("publish", "Both", "--at", later, "--embargo", later)
    assert (done.returncode, "got both" in done.stderr) == (1, True)


def test_a_translation_is_linked_and_killed_along(service: Service) -> None:
    first = service.publish("Bridge closed")["id"]
    done = service.command("publish", "Puente cerrado", "-e", "es", "--translation-of", first, "--id", "sister-1")
    assert done.returncode == 0, done.stderr
    done = service.command("kill", first, "--everywhere", "--reason", "wrong")
    assert "killed: sister-1 in es" in done.stdout, done.stdout + done.stderr


def test_a_line_is_corrected_and_killed(service: Service) -> None:
    item_id = service.publish("Wrong")["id"]
    done = service.command("correct", item_id, "Right", "--note", "It was wrong")
    assert done.stdout.startswith(f"live: {item_id} version 2"), done.stderr
    done = service.command("kill", item_id, "--reason", "no second source")
    assert done.stdout.startswith(f"killed: {item_id} version 3"), done.stderr
    assert service.http.get(f"/v1/items/{item_id}").json()["note"] == "no second source"
    done = service.command("kill", item_id)
    assert done.stdout.startswith(f"killed: {item_id} version 3"), "killing twice is no error"
    done = service.command("correct", item_id, "Undead", "--note", "No")
    assert done.returncode == 1
    assert "got one that is killed" in done.stderr


def ask(service: Service, item_id: str, *options: str, say: bytes = b"y\n") -> tuple[int, str]:
    """`stoppress kill` at a terminal where somebody answers `say`; returns its exit status and what it printed."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, say)
        done = subprocess.run(
            [COMMAND, "kill", item_id, *options],
            env=service.env(),
            cwd=service.folder,
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    return done.returncode, done.stdout + done.stderr


def test_who_kills_at_a_terminal_sees_the_line_first(service: Service) -> None:
    item_id = service.publish("Doubtful")["id"]
    status, said = ask(service, item_id, say=b"n\n")
    assert status == 1
    assert said.index("en, live: Doubtful\n") < said.index("Kill it? ")
    assert service.http.get(f"/v1/items/{item_id}").json()["state"] == "live"
    status, said = ask(service, item_id)
    assert (status, f"killed: {item_id} version 2" in said) == (0, True), said
    status, said = ask(service, item_id)
    assert (status, "en, killed: its text is gone\n" in said) == (0, True), said


class Blind(BaseHTTPRequestHandler):
    """A service that kills, but shows no line: `got` are the calls that came."""

    got: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.answer(503, {"detail": "expected Redis to answer in time: it does not"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.answer(202, {"id": "x", "version": 2, "state": "killed"})

    def answer(self, status: int, document: dict[str, Any]) -> None:
        self.got.append(self.command)
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def blind() -> Iterator[str]:
    Blind.got.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Blind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(20)


def test_a_line_that_cannot_be_shown_can_be_killed(service: Service, blind: str) -> None:
    status, said = ask(service, "x", "--url", blind)
    assert status == 0, said
    assert "The line x cannot be shown: expected Redis to answer in time: it does not\n" in said
    assert "Kill it? " in said
    assert "killed: x version 2" in said
    assert Blind.got == ["GET", "POST"]


def test_a_kill_that_asks_nobody_makes_one_call(service: Service, blind: str) -> None:
    assert ask(service, "x", "--yes", "--url", blind)[0] == 0
    assert service.command("kill", "x", "--url", blind).returncode == 0
    assert Blind.got == ["POST", "POST"]


def test_documents_are_ingested_and_a_bad_one_does_not_stop_the_others(service: Service) -> None:
    for name, text in (
        ("one.json", '{"uri": "urn:cli:1", "headline": "One"}'),
        ("bad.json", '{"uri": 5}'),
        ("two.json", '{"uri": "urn:cli:2", "headline": "Two"}'),
    ):
        (service.folder / name).write_text(text)
    done = service.command("ingest", "--edition", "en", "one.json", "bad.json", "two.json")
    assert done.returncode == 1
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["one.json", "two.json"]
    assert "bad.json: expected text, got the number 5 ($.uri)" in done.stderr
    assert "1 of 3 documents were not taken" in done.stderr


def test_keys_are_made_listed_and_revoked(service: Service) -> None:
    made = service.command("keys", "add", "bob", "--role", "editor", "--edition", "en")
    key = {"authorization": f"Bearer {made.stdout.strip()}"}
    assert service.http.get("/v1/items", headers=key).status_code == 200
    assert "bob                      editor" in service.command("keys", "list").stdout
    assert made.stdout.strip() not in str(service.stored())
    assert service.command("keys", "add", "bob", "--role", "chief").returncode == 1
    assert service.command("keys", "revoke", "bob").returncode == 0
    assert service.http.get("/v1/items", headers=key).status_code == 401
    again = service.command("keys", "revoke", "bob")
    assert again.returncode == 1
    assert "`stoppress keys list`" in again.stderr


def test_a_terminal_sees_a_line_its_correction_and_its_kill(service: Service) -> None:
    with tail(service, "--plain", "--edition", "es") as path:
        until(lambda: "lines on air" in path.read_text(), "the first lines")
        item_id = service.publish("Una línea", edition="es", urgency=1, speaker="Ministerio")["id"]
        until(lambda: "FLASH     Ministerio: Una línea" in path.read_text(), "the line")
        service.change(item_id, 1, "correct", headline="Otra línea", note="Un error")
        until(lambda: "Otra línea  [corrected: Un error]" in path.read_text(), "the correction")
        service.act(item_id, "kill")
        until(lambda: f"KILLED    {item_id}" in path.read_text(), "the kill")
    service.publish("La única", edition="es")
    with tail(service, "--plain", "--edition", "es") as path:
        until(lambda: "1 line on air" in path.read_text(), "the first line")


def test_a_script_goes_on_after_a_restart_and_misses_and_doubles_nothing(own_service: Service) -> None:
    own_service.start()
    with tail(own_service, "--json") as path:
        until(lambda: "snapshot" in path.read_text(), "the first lines")
        before = own_service.publish("Before")["id"]
        until(lambda: before in path.read_text(), "the first line")
        own_service.stop("web")
        own_service.start("web")
        after = [own_service.publish(f"After {number}")["id"] for number in range(3)]
        until(lambda: after[-1] in path.read_text(), "the lines after the restart")
        messages = [json.loads(line) for line in path.read_text().splitlines()]
    assert [each["item"]["id"] for each in messages if each["type"] == "item"] == [before, *after]
    assert "resumed" in [each["type"] for each in messages]
    lost, back = path.with_suffix(".err").read_text().splitlines()[:2]
    assert "reconnecting: this process is leaving service" in lost
    assert back.endswith("connected")


def test_an_unknown_edition_is_one_line(service: Service) -> None:
    done = service.command("tail", "--edition", "xx")
    assert done.returncode == 1
    assert done.stderr == "Error: expected one of the editions en, ar, es, got 'xx'\n"


@pytest.mark.parametrize(
    "command", [["publish", "x"], ["kill", "x"], ["tail"], ["correct", "x", "y", "--note", "z"]], ids=" ".join
)
def test_a_service_that_is_down_is_one_line(service: Service, command: list[str]) -> None:
    done = service.command(*command, "--url", f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: no service at http://127.0.0.1:")
    assert "stoppress up" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [["worker", "breaking"], ["keys", "list"]], ids=" ".join)
def test_a_redis_that_is_not_there_is_one_line(service: Service, command: list[str]) -> None:
    done = service.command(*command, redis_url=f"redis://:secret@127.0.0.1:{free_port()}/0")
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert "secret" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", "x"), ("max_readers", "0"), ("log_format", "xml"), ("redis_url", "http://x"), ("editions", "/none.toml")],
)
def test_a_wrong_setting_is_one_line_that_names_it(service: Service, name: str, value: str) -> None:
    done = service.command("web", **{name: value})
    assert done.returncode == 1
    assert f"STOPPRESS_{name.upper()}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_queue_is_one_line(service: Service) -> None:
    done = service.command("worker", "other")
    assert done.returncode == 1
    assert "expected one of the queues breaking, got 'other'" in done.stderr


def test_a_port_that_is_taken_is_one_line(service: Service) -> None:
    done = service.command("web")
    assert done.returncode == 1
    assert "STOPPRESS_PORT" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_demonstration_plays_to_its_end(service: Service) -> None:
    done = service.command("demo", "--gap", "0", "--once", redis_url="", port=str(free_port()))
    assert done.returncode == 0, done.stderr
    for said in ("corrected: It is midnight local time.", "KILLED", "en reader", "ar reader", "That was the"):
        assert said in done.stdout


def test_a_line_that_no_worker_takes_is_not_said_to_be_on_the_air(own_service: Service) -> None:
    own_service.start()
    own_service.stop("worker")
    made = own_service.command("publish", "Nobody takes it")
    assert made.returncode == 0
    assert made.stdout.startswith("accepted, NOT on the air yet: ")


def test_who_cannot_know_whether_it_was_accepted_is_told_how_to_repeat_it(own_service: Service) -> None:
    own_service.start()
    pid = own_service.redis_server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        refused = own_service.command("publish", "Perhaps")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert refused.returncode == 1
    assert "is not known" in refused.stderr
    item_id = refused.stderr.rstrip().rpartition("--id ")[2]
    own_service.wait_ready()
    again = own_service.command("publish", "Perhaps", "--id", item_id)
    assert (again.returncode, item_id in again.stdout) == (0, True), again.stderr
    lines = own_service.http.get("/v1/editions/en/ticker").json()["items"]
    assert [line["id"] for line in lines] == [item_id]
