"""Metrics: a scrape is sound, tells of every process of the port, and is for operators."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from service.web.metrics import FAMILIES
from tests.integration.harness import KEY, Service, until

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    """Every sample of a scrape, by name and labels. Each is there once."""
    found: Samples = {}
    for family in parse(text):
        for sample in family.samples:
            place = (sample.name, tuple(sorted(sample.labels.items())))
            assert place not in found, f"{place} comes twice"
            found[place] = sample.value
    return found


def scrape(service: Service) -> Samples:
    """Scrape as Prometheus does on this machine: without a key."""
    answer = httpx.get(f"http://127.0.0.1:{service.port}/metrics", trust_env=False)
    assert answer.status_code == 200, answer.text
    return samples(answer.text)


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


def total(found: Samples, name: str) -> float:
    return sum(each for (sample, _), each in found.items() if sample == name)


@pytest.fixture
def pair(own_service: Service) -> Service:
    """Two web processes on one port."""
    own_service.start(web_processes="2")
    until(lambda: value(scrape(own_service), "stoppress_web_processes") == 2, "both processes")
    return own_service


def children(service: Service) -> list[int]:
    """The web processes themselves, by the process that watches over them (the resource tracker is none)."""
    parent = service.processes["web"].pid
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            command = status.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and b"spawn_main" in command:
            found.append(int(status.parent.name))
    return found


def test_a_scrape_has_every_family_and_counts_what_happens(service: Service) -> None:
    before = scrape(service)
    with service.screens(3) as screens:
        made = service.publish("Counted")
        for screen in screens:
            screen.item(made["id"])
        service.act(made["id"], "kill")
        for screen in screens:
            screen.removal(made["id"])
        assert service.act(made["id"], "pin").status_code == 409
        with service.screen(cursor=made["cursor"]) as back:
            assert back.next()["type"] == "resumed"
            now = scrape(service)
            assert value(now, "stoppress_readers", edition="en") == 4
            assert value(now, "stoppress_readers", edition="ar") == 0

    def rise(name: str, **labels: str) -> float:
        return value(now, name, **labels) - value(before, name, **labels)

    assert rise("stoppress_handshakes_total") == 4
    assert rise("stoppress_resumes_total", result="memory") == 1
    assert rise("stoppress_deliveries_total") == 6
    assert rise("stoppress_delivery_seconds_count") == 2, "once a change, not once a reader"
    assert 0 < rise("stoppress_delivery_seconds_sum") < 30
    assert rise("stoppress_accepted_total", action="publish") == 1
    assert rise("stoppress_accepted_total", action="kill") == 1
    assert rise("stoppress_publish_refusals_total", code="unavailable") == 0
    assert value(now, "stoppress_publish_refusals_total", code="conflict") >= 1
    assert rise("stoppress_publish_seconds_count") == 3
    assert rise("stoppress_log_seq", edition="en") == 2
    assert value(now, "stoppress_delivery_seconds_bucket", le="+Inf") == value(now, "stoppress_delivery_seconds_count")
    assert value(now, "stoppress_redis_up") == value(now, "stoppress_clock_leaders") == 1
    assert value(now, "stoppress_queue_failed_jobs") == 0
    assert value(now, "stoppress_outbox_age_seconds", edition="es") < 10
    assert value(now, "stoppress_feed_lag_seconds", edition="es") < 3
    assert value(now, "stoppress_canary_age_seconds", edition="es") < 30
    assert value(now, "process_resident_memory_bytes", process="0") > 10_000_000
    assert value(now, "stoppress_part_ready", part="canary") == 1
    until(lambda: value(scrape(service), "stoppress_canary_seconds_count") >= 3, "canaries to be measured")
    until(lambda: value(scrape(service), "stoppress_workers") == 1, "the worker to be counted")
    text = service.http.get("/metrics").text
    families = {family.name for family in parse(text)}
    assert families == {family.name.removesuffix("_total") for family in FAMILIES}
    # Each has at least one sample while all is well, so that a rate sees it begin at 0.
    assert all(family.samples for family in parse(text))


@pytest.mark.parametrize("version", ["", "; version=1.0.0; charset=utf-8", "; version=0.0.1"])
def test_openmetrics_is_given_to_whom_asks_for_it(service: Service, version: str) -> None:
    accept = f"application/openmetrics-text{version},text/plain;q=0.5"
    answer = service.http.get("/metrics", headers={"accept": accept})
    assert answer.status_code == 200
    if "0.0.1" in version:
        assert answer.headers["content-type"].startswith("text/plain")
        return
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
    assert {family.name for family in parse_openmetrics(answer.text)} >= {"stoppress_readers", "stoppress_deliveries"}


def test_an_accept_header_that_is_nonsense_gets_plain_text(service: Service) -> None:
    answer = service.http.get("/metrics", headers={"accept": "application/openmetrics-text; version=x.y"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")


def test_a_scrape_holds_no_secret_and_nothing_of_the_news(service: Service) -> None:
    service.publish("A headline in no metric")
    text = service.http.get("/metrics").text
    password = service.redis_server.url.split("@")[0].rpartition(":")[2]
    for word in (KEY, password, "headline in no", "redis://"):
        assert word not in text


def test_strangers_get_no_metrics(service: Service) -> None:
    bare = httpx.Client(base_url=f"http://127.0.0.1:{service.port}", trust_env=False)
    with bare:
        assert bare.get("/metrics").status_code == 200
        assert bare.get("/metrics", headers={"x-forwarded-for": "127.0.0.1"}).status_code == 200
        strangers: list[dict[str, str]] = [
            {"x-forwarded-for": "192.0.2.7"},
            {"x-forwarded-for": "127.0.0.1, 192.0.2.7, 127.0.0.1"},
            {"x-forwarded-for": "unknown"},
            {"forwarded": "for=192.0.2.7"},
            {"x-real-ip": "192.0.2.7"},
        ]
        for headers in strangers:
            answer = bare.get("/metrics", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), headers
        two = [("x-forwarded-for", "127.0.0.1"), ("x-forwarded-for", "192.0.2.7")]
        assert bare.get("/metrics", headers=two).status_code == 403
        stranger = strangers[0]
        assert bare.get("/metrics", headers=stranger | {"authorization": f"Bearer {KEY}"}).status_code == 200
        chief = service.add_key("metrics-chief", "chief")
        assert bare.get("/metrics", headers=stranger | chief).status_code == 200
        editor = service.add_key("metrics-editor", "editor")
        assert bare.get("/metrics", headers=stranger | editor).status_code == 403
        assert bare.get("/metrics", headers=stranger | {"authorization": "Bearer sp_nobodys"}).status_code == 401


def test_loopback_that_is_not_trusted_needs_a_key(own_service: Service) -> None:
    own_service.start(trusted_addresses="192.0.2.0/24")
    assert httpx.get(f"http://127.0.0.1:{own_service.port}/metrics", trust_env=False).status_code == 403
    assert own_service.http.get("/metrics").status_code == 200


def test_a_scrape_tells_of_every_process_and_forgets_only_the_gauges_of_one_that_dies(pair: Service) -> None:
    pair.may_fail.add("web")
    with pair.screens(12) as screens:
        made = pair.publish("To both")
        for screen in screens:
            screen.item(made["id"])

        def settled() -> bool:
            # Asked until both have answered: whichever it is, it tells of all.
            found = [scrape(pair) for _ in range(8)]
            return all(
                value(each, "stoppress_readers", edition="en") == 12
                and value(each, "stoppress_deliveries_total") == 12
                and value(each, "stoppress_handshakes_total") == 12
                for each in found
            )

        until(settled, "both to tell of all")
        found = scrape(pair)
        assert {labels for name, labels in found if name == "process_open_fds"} == {
            (("process", "0"),),
            (("process", "1"),),
        }
        assert value(found, "stoppress_redis_up") == 1
        counted = total(found, "process_cpu_seconds_total")
        before = children(pair)
        assert len(before) == 2
        os.kill(before[0], signal.SIGKILL)
        until(lambda: len(children(pair)) == 2 and before[0] not in children(pair), "another process in its place")
        until(lambda: value(scrape(pair), "stoppress_web_processes") == 2, "both processes")
        pair.wait_ready()

        def after() -> bool:
            found = [scrape(pair) for _ in range(8)]
            for each in found:
                assert value(each, "stoppress_deliveries_total") >= 12, "a counter never falls"
                assert value(each, "stoppress_handshakes_total") >= 12
                assert value(each, "stoppress_readers", edition="en") < 12, "those of the dead one are gone"
                assert total(each, "process_cpu_seconds_total") >= counted
            return all(value(each, "stoppress_web_processes") == 2 for each in found)

        until(after, "the figures of the two that live")
        assert {labels for name, labels in scrape(pair) if name == "process_open_fds"} == {
            (("process", "0"),),
            (("process", "1"),),
        }, "the new one took the dead one's place"


def test_the_processes_leave_no_folder_behind(pair: Service, tmp_path: Path) -> None:
    environment = Path(f"/proc/{children(pair)[0]}/environ").read_bytes()
    (folder,) = re.findall(rb"_STOPPRESS_SHEETS=([^\0]+)", environment)
    path = Path(folder.decode())
    assert path.stat().st_mode & 0o077 == 0, "nobody else may look"
    assert len(list(path.glob("*.lock"))) == 2
    pair.stop("web")
    assert not path.exists()


def names_in(expression: str) -> set[str]:
    """The metrics that a PromQL expression names."""
    return set(re.findall(r"\b(?:stoppress|process)_[a-z0-9_]+", expression))


def balanced(expression: str) -> bool:
    pairs = {")": "(", "]": "[", "}": "{"}
    opened: list[str] = []
    for sign in re.sub(r'"[^"]*"', "", expression):
        if sign in "([{":
            opened.append(sign)
        elif sign in pairs and (not opened or opened.pop() != pairs[sign]):
            return False
    return not opened


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((OPERATIONS / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_dashboard_and_the_alerts_name_metrics_that_there_are(service: Service) -> None:
    known = {name for name, _ in scrape(service)}
    dashboard = json.loads((OPERATIONS / "dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(expressions) > 15
    for expression in [*expressions, *(rule["expr"] for rule in alerts())]:
        assert balanced(expression), expression
        assert names_in(expression) or "up{" in expression, expression
        assert names_in(expression) <= known, f"{names_in(expression) - known} in {expression}"
    variables = {each["name"]: each["type"] for each in dashboard["templating"]["list"]}
    assert variables["datasource"] == "datasource"
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


def test_each_alert_says_what_it_means_and_what_to_do() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names) > 10
    for rule in alerts():
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert re.fullmatch(r"\d+[sm]", rule["for"])
        assert rule["annotations"]["summary"]
        assert len(rule["annotations"]["do"]) > 40
        # What a template names must be a label that the expression keeps.
        assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= {"edition", "instance", "part", "code"}
