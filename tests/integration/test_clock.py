"""The clock: what must happen at a time happens then, whichever clock is alive."""

import signal
import time
from datetime import datetime

import httpx
import msgspec

from service.domain.frames import Removed
from service.domain.instant import format_ms
from service.domain.lifecycle import Entry
from service.store.keys import CLOCK_LEASE, Keys
from tests.integration.harness import Service, now_ms, until
from workers.clock import MOST_WAKEUPS


def ms_of(text: str) -> int:
    """A wire's time in ms."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def test_an_embargoed_line_is_public_at_its_moment_and_not_before(service: Service) -> None:
    with service.screen() as screen:
        screen.next()
        moment = now_ms() + 1_500
        body = {"edition": "en", "headline": "Under embargo", "embargoedUntil": format_ms(moment)}
        answer = service.http.post("/v1/items", json=body)
        assert (answer.status_code, answer.json()["state"]) == (202, "embargoed")
        assert "Under embargo" not in service.http.get("/v1/editions/en/ticker").text
        item = screen.item(answer.json()["id"])
        came = now_ms()
    assert came >= moment
    assert item["publishedAt"] == format_ms(moment)
    print(f"skew: {came - moment} ms")


def test_an_earlier_embargo_wakes_the_clock_that_sleeps(service: Service) -> None:
    far = format_ms(now_ms() + 3_600_000)
    service.http.post("/v1/items", json={"edition": "ar", "headline": "Much later", "embargoedUntil": far})
    with service.screen("ar") as screen:
        screen.next()
        moment = now_ms() + 700
        body = {"edition": "ar", "headline": "Soon", "embargoedUntil": format_ms(moment)}
        screen.item(service.http.post("/v1/items", json=body).json()["id"])
        assert now_ms() >= moment


def test_a_killed_embargo_never_goes_out(service: Service) -> None:
    moment = now_ms() + 800
    with service.screen("es") as screen:
        screen.next()
        body = {"edition": "es", "headline": "Never", "embargoedUntil": format_ms(moment)}
        item_id = service.http.post("/v1/items", json=body).json()["id"]
        killed = service.http.post(f"/v1/items/{item_id}/kill")
        assert (killed.status_code, killed.json()["state"]) == (202, "killed")
        body["headline"], body["embargoedUntil"] = "After it", format_ms(moment + 200)
        after = service.http.post("/v1/items", json=body).json()["id"]
        # The next thing that readers hear is the later embargo: nothing came of the killed one, not even its removal.
        assert screen.next()["item"]["id"] == after


def test_a_line_leaves_the_ticker_when_its_time_is_over(service: Service) -> None:
    with service.screen() as screen:
        screen.next()
        made = service.publish("Short-lived", expires=format_ms(now_ms() + 1_200))
        gone = screen.removal(made["id"])
    assert (gone["reason"], gone["version"]) == ("expired", 2)
    assert service.http.get(f"/v1/items/{made['id']}").json()["state"] == "expired"
    assert "Short-lived" not in service.http.get("/v1/editions/en/ticker").text


def test_what_lost_its_wake_up_is_woken_by_the_sweep(service: Service) -> None:
    with service.screen() as screen:
        screen.next()
        # An entry without a job, as a worker leaves it that dies between taking the job and appending.
        entry = Entry(kind="remove", id="swept", version=2, accepted=now_ms(), reason="withheld")
        service.redis.rpush(Keys.of("en").outbox, msgspec.json.encode(entry))
        assert screen.removal("swept")["reason"] == "withheld"
    assert msgspec.json.decode(msgspec.json.encode(screen.messages[-1]), type=Removed).version == 2


def test_a_clock_that_dies_is_replaced_by_the_one_that_stands_by(own_service: Service) -> None:
    own_service.start("web", "worker", "clock")
    leader = until(lambda: own_service.redis.get(CLOCK_LEASE), "a leader")
    own_service.start("clock2")
    with own_service.screen() as screen:
        screen.next()
        moment = now_ms() + 3_000
        body = {"edition": "en", "headline": "Through the change", "embargoedUntil": format_ms(moment)}
        item_id = own_service.http.post("/v1/items", json=body).json()["id"]
        own_service.stop("clock", signal.SIGKILL)
        until(lambda: own_service.redis.get(CLOCK_LEASE) not in (None, leader), "the other clock to lead")
        screen.item(item_id)
        assert now_ms() >= moment
    own_service.wait_ready()


def test_without_a_clock_a_new_service_is_not_ready(own_service: Service) -> None:
    own_service.start("web", ready=False)

    def loaded() -> bool:
        try:
            return own_service.http.get("/v1/editions/en/ticker").status_code == 200
        except httpx.TransportError:
            return False

    until(loaded, "the ticker to be loaded")
    for _ in range(50):
        answer = own_service.http.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["parts"]["feed"]["silent"] == ["en", "ar", "es"]
        assert answer.json()["parts"]["clock"]["leader"] is None
    # Without a worker nothing would be delivered: only the three together are a service.
    own_service.start("worker", "clock")


def test_what_fell_due_while_no_clock_lived_is_caught_up(own_service: Service) -> None:
    own_service.start()
    until(lambda: own_service.redis.get(CLOCK_LEASE), "the clock to lead")
    made = own_service.publish("Expires unseen", expires=format_ms(now_ms() + 1_500))
    body = {"edition": "en", "headline": "Due unseen", "embargoedUntil": format_ms(now_ms() + 1_500)}
    embargoed = own_service.http.post("/v1/items", json=body).json()["id"]
    assert own_service.stop("clock") == 0
    assert own_service.redis.get(CLOCK_LEASE) is None, "a clock that ends gives up its lease"
    until(lambda: now_ms() > ms_of(body["embargoedUntil"]), "the moment to pass")
    assert own_service.http.get(f"/v1/items/{made['id']}").json()["state"] == "live"
    with own_service.screen() as screen:
        screen.next()
        own_service.start("clock", ready=False)
        said = [screen.find(lambda message: message["type"] in ("item", "remove")) for _ in range(2)]
    assert {message.get("id") or message["item"]["id"] for message in said} == {made["id"], embargoed}


def test_worker_and_clock_end_at_once_when_told_to(own_service: Service) -> None:
    own_service.start()
    until(lambda: own_service.redis.get(CLOCK_LEASE), "the clock to lead")
    started = time.monotonic()
    assert own_service.stop("worker") == 0
    assert own_service.stop("clock") == 0
    print(f"both ended within {time.monotonic() - started:.2f} s")


def test_readers_of_a_service_that_never_heard_a_clock_are_told_so(own_service: Service) -> None:
    own_service.start("web", "worker", ready=False)
    until(lambda: ticker_is_loaded(own_service), "the ticker")
    with own_service.screen() as screen:
        assert screen.next()["type"] == "snapshot"
        assert screen.find(lambda message: message["type"] == "behind")["since"]
        parts = own_service.http.get("/readyz").json()["parts"]
        assert parts["clock"]["why"] == "no clock leads"
        assert "no beat is heard of" in parts["feed"]["why"]
        assert "why" not in parts["redis"]


def test_wake_ups_that_nobody_takes_do_not_pile_up(own_service: Service) -> None:
    own_service.start()
    own_service.stop("worker")
    queue = "rq:queue:breaking"
    own_service.redis.rpush(queue, *(f"waiting-{number}" for number in range(MOST_WAKEUPS + 5)))
    made = own_service.http.post("/v1/items", json={"edition": "en", "headline": "Waits"})
    assert made.status_code == 202
    before = own_service.redis.llen(queue)
    until(lambda: own_service.log("clock").count("waited too long"), "the clock to say that it waits too long")
    until(lambda: own_service.http.get("/readyz").json()["parts"]["outbox"].get("why"), "readiness to say so", 60)
    # Ten seconds of sweeps: at the most a canary's wake-up in each edition has come.
    assert own_service.redis.llen(queue) <= before + 3
    assert own_service.log("clock").count("waited too long") <= 3 * 2


def ticker_is_loaded(service: Service) -> bool:
    try:
        return service.http.get("/v1/editions/en/ticker").status_code == 200
    except httpx.TransportError:
        return False
