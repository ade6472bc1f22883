"""Metrics: what this port's processes have counted and know, in Prometheus's text. Built when it is asked for.

Hot paths only add to plain ints (`gateway/counts.py`, `newsroom/tally.py`). The table below is the documentation; what
is unknown, such as an outbox while Redis does not answer, is left out rather than shown as it once was.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Literal, NamedTuple

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from service.domain.frames import Close
from service.domain.lifecycle import ACTIONS
from service.gateway.feed import Feeds
from service.gateway.hub import Hub
from service.histogram import SECONDS, Histogram
from service.newsroom.tally import Tally
from service.settings import Settings
from service.web.sheets import BLANK, Sheet, Sheets
from service.web.watch import Watch

# How often this process shows the others of its port what it has counted.
SHEET_SECONDS = 0.25

Kind = Literal["counter", "histogram", "sum", "max", "min"]


class Family(NamedTuple):
    """One metric. Of a gauge, `kind` says how several processes make one figure."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()


FAMILIES = (
    Family("stoppress_readers", "sum", "Readers that are connected.", ("edition",)),
    Family("stoppress_max_readers", "sum", "Readers that there is room for."),
    Family("stoppress_lagging_readers", "sum", "Readers that are skipped until they have drained."),
    Family("stoppress_lags_total", "counter", "How often a reader began to lag."),
    Family("stoppress_handshakes_total", "counter", "Readers that were let in."),
    Family("stoppress_refusals_total", "counter", "Readers that were refused, by the problem's code.", ("code",)),
    Family("stoppress_timeouts_total", "counter", "Connections dropped for not saying in time what they want."),
    Family("stoppress_crowded_out_total", "counter", "Connections dropped because there were too many."),
    Family("stoppress_closes_total", "counter", "Sockets that were closed, by close code.", ("code",)),
    Family(
        "stoppress_resumes_total",
        "counter",
        "Readers that came with a cursor, by what it was resumed from; a snapshot where it could not be.",
        ("result",),
    ),
    Family("stoppress_deliveries_total", "counter", "Writes of news to a reader; changes that were joined are one."),
    Family(
        "stoppress_delivery_seconds",
        "histogram",
        "From a change's acceptance to the last reader of its pass, once for each change and process with readers.",
    ),
    Family("stoppress_feed_lag_seconds", "max", "Since anything was heard on the news channel.", ("edition",)),
    Family("stoppress_feed_losses_total", "counter", "How often the news was lost after it had been heard."),
    Family("stoppress_log_seq", "max", "The place in the log that was reached.", ("edition",)),
    Family("stoppress_canary_age_seconds", "max", "Since the last canary that came through was sent.", ("edition",)),
    Family("stoppress_canary_seconds", "histogram", "How long canaries took from the outbox to the feed."),
    Family("stoppress_accepted_total", "counter", "Accepted calls of editors and wires, by action.", ("action",)),
    Family("stoppress_publish_seconds", "histogram", "Calls of editors and wires, up to acceptance or refusal."),
    Family(
        "stoppress_publish_refusals_total", "counter", "Refused calls of editors, by the problem's code.", ("code",)
    ),
    Family("stoppress_outbox_age_seconds", "max", "How long the oldest accepted change has waited.", ("edition",)),
    Family("stoppress_outbox_changes", "max", "Accepted changes that wait to be appended.", ("edition",)),
    Family("stoppress_queue_jobs", "max", "Wake-ups that wait for a worker."),
    Family("stoppress_queue_failed_jobs", "max", "Wake-ups that failed within a day."),
    Family("stoppress_workers", "max", "Workers that have shown that they live."),
    Family("stoppress_redis_up", "min", "1 if the log's Redis answers."),
    Family("stoppress_redis_seconds", "max", "How long the log's Redis took to answer."),
    Family("stoppress_clock_leaders", "max", "1 if a clock leads."),
    Family("stoppress_part_ready", "min", "1 if a part is ready, as /readyz says.", ("part",)),
    Family("stoppress_web_processes", "sum", "Processes of this port that live."),
    Family("stoppress_build_info", "max", "Always 1.", ("version",)),
    Family("process_resident_memory_bytes", "sum", "Resident memory.", ("process",)),
    Family("process_virtual_memory_bytes", "sum", "Virtual memory.", ("process",)),
    Family("process_cpu_seconds_total", "counter", "User and system CPU time.", ("process",)),
    Family("process_open_fds", "sum", "Open file descriptors.", ("process",)),
    Family("process_max_fds", "sum", "Most file descriptors that may be open.", ("process",)),
    Family("process_start_time_seconds", "sum", "When it started, in seconds since 1970.", ("process",)),
)
# What labels there may be, shown as 0 until it happens: a rate needs to have seen the 0.
PUBLISH_REFUSALS = (
    "unavailable",
    "unconfirmed",
    "stale-version",
    "conflict",
    "id-taken",
    "invalid-field",
    "unauthenticated",
    "forbidden",
)
REFUSALS = ("over-capacity", "unavailable", "too-many-requests", "origin-not-allowed", "malformed", "unauthenticated")
RESUMES = ("memory", "log", "snapshot")
ACCEPTED = ("create", *ACTIONS, "update", "correct", "refile", "ingest")

Values = dict[str, list[tuple[list[str], float]]]


class Metrics:
    """This process's numbers, and with `folder` those of the other processes of its port."""

    def __init__(
        self, settings: Settings, hub: Hub, feed: Feeds, tally: Tally, watch: Watch, folder: Path | None
    ) -> None:
        self._settings = settings
        self._hub = hub
        self._feed = feed
        self._tally = tally
        self._watch = watch
        self._process = ProcessCollector(registry=None)
        self._version = version("stoppress")
        self._sheets = Sheets(folder) if folder is not None else None
        self._left = self._sheets.left if self._sheets else BLANK
        self._slot = str(self._sheets.slot if self._sheets else 0)

    async def run(self) -> None:
        """Show the others what was counted, for ever."""
        while True:
            if self._sheets is not None:
                self._sheets.write(self.sheet())
            await asyncio.sleep(SHEET_SECONDS)

    def close(self) -> None:
        """Leave what was counted to the process that comes after this one."""
        if self._sheets is not None:
            self._sheets.write(self.sheet())
            self._sheets.close()

    def scrape(self, accept: str) -> tuple[bytes, str]:
        """All of it, in the form that the Accept header asks for, and the form's media type."""
        try:
            encode, media_type = choose_encoder(accept)
        except (ValueError, TypeError):
            encode, media_type = choose_encoder("")  # a version that is none
        others = list(self._sheets.others()) if self._sheets is not None else []
        sheets = [self.sheet(), *(other.sheet for other in others if other.alive)]
        gone = [other.sheet for other in others if not other.alive]
        return encode(Exposition(sheets, gone)), media_type

    def sheet(self) -> Sheet:
        """This process's numbers now, with what the process before it in its slot had counted."""
        gauges = self._gauges()
        counters = self._counters()
        for family in self._process.collect():
            for sample in family.samples:
                values = counters if sample.name.endswith("_total") else gauges
                values[sample.name] = [([self._slot], sample.value)]
        histograms = {
            "stoppress_delivery_seconds": self._hub.counts.delivery,
            "stoppress_canary_seconds": self._feed.canary_seconds,
            "stoppress_publish_seconds": self._tally.seconds,
        }
        own = Sheet(counters, {name: (each.counts, each.total) for name, each in histograms.items()}, gauges)
        return Sheet(
            {name: _added((own, self._left), name, "counters") for name in counters},
            {name: _joined((own, self._left), name) for name in histograms},
            gauges,
        )

    def _counters(self) -> Values:
        counts, tally = self._hub.counts, self._tally
        closes = {str(int(code)): counts.closes[code] for code in Close}
        return {
            "stoppress_lags_total": [([], counts.lags)],
            "stoppress_handshakes_total": [([], counts.handshakes)],
            "stoppress_refusals_total": _labelled(counts.refusals, REFUSALS),
            "stoppress_timeouts_total": [([], counts.timeouts)],
            "stoppress_crowded_out_total": [([], counts.crowded_out)],
            "stoppress_closes_total": _labelled(closes),
            "stoppress_resumes_total": _labelled(counts.resumes, RESUMES),
            "stoppress_deliveries_total": [([], counts.deliveries)],
            "stoppress_feed_losses_total": [([], self._feed.losses)],
            "stoppress_accepted_total": _labelled(tally.accepted, ACCEPTED),
            "stoppress_publish_refusals_total": _labelled(tally.refused, PUBLISH_REFUSALS),
        }

    def _gauges(self) -> Values:
        audiences = self._hub.audiences
        canaries, heard = self._feed.canaries, self._feed.heard_seconds()
        # The parts first: they note when one changed.
        parts = self._watch.parts()
        log, queue = self._watch.log, self._watch.queue
        values: Values = {
            "stoppress_readers": _labelled({code: len(each.readers) for code, each in audiences.items()}),
            "stoppress_max_readers": [([], self._settings.max_readers)],
            "stoppress_lagging_readers": [([], sum(len(each.lagging) for each in audiences.values()))],
            "stoppress_feed_lag_seconds": _labelled(heard),
            "stoppress_log_seq": _labelled({code: each.ticker.seq for code, each in audiences.items()}),
            "stoppress_canary_age_seconds": _labelled(
                {
                    code: canaries[code].age_ms / 1000 if code in canaries else self._watch.age_seconds
                    for code in audiences
                }
            ),
            "stoppress_redis_up": [([], float(log.fresh is not None))],
            "stoppress_part_ready": _labelled({name: float(part["ready"]) for name, part in parts.items()}),
            "stoppress_web_processes": [([], 1)],
            "stoppress_build_info": [([self._version], 1)],
        }
        if (known := log.fresh) is not None:
            outboxes = parts["outbox"]["editions"]
            values["stoppress_redis_seconds"] = [([], log.took_ms / 1000)]
            values["stoppress_clock_leaders"] = [([], float(known.leader is not None))]
            values["stoppress_outbox_age_seconds"] = _labelled(
                {code: each["ageMs"] / 1000 for code, each in outboxes.items()}
            )
            values["stoppress_outbox_changes"] = _labelled({code: each["changes"] for code, each in outboxes.items()})
        if (waiting := queue.fresh) is not None:
            values["stoppress_queue_jobs"] = [([], waiting.jobs)]
            values["stoppress_queue_failed_jobs"] = [([], waiting.failed)]
            values["stoppress_workers"] = [([], waiting.workers)]
        return values


class Exposition(Collector):
    """What several processes say, as one. `gone` are those that have ended: their counters stay."""

    def __init__(self, sheets: list[Sheet], gone: list[Sheet]) -> None:
        self._sheets = sheets
        self._gone = gone

    def collect(self) -> Iterator[Metric]:
        """Every family; one of which nothing is known has no sample."""
        for family in FAMILIES:
            if family.kind == "histogram":
                yield self._histogram(family)
            elif family.kind == "counter":
                counter = CounterMetricFamily(family.name, family.text, labels=family.labels)
                for labels, value in _added([*self._sheets, *self._gone], family.name, "counters"):
                    counter.add_metric(labels, value)
                yield counter
            else:
                gauge = GaugeMetricFamily(family.name, family.text, labels=family.labels)
                for labels, value in _added(self._sheets, family.name, "gauges", family.kind):
                    gauge.add_metric(labels, value)
                yield gauge

    def _histogram(self, family: Family) -> Metric:
        counts, total = _joined([*self._sheets, *self._gone], family.name)
        histogram = HistogramMetricFamily(family.name, family.text)
        buckets, below = [], 0
        for bound, here in zip((*map(str, SECONDS), "+Inf"), counts, strict=True):
            below += here
            buckets.append((bound, below))
        histogram.add_metric([], buckets, total)
        return histogram


def _labelled(values: Mapping[str, float], known: Iterable[str] = ()) -> list[tuple[list[str], float]]:
    return [([label], value) for label, value in (dict.fromkeys(known, 0.0) | dict(values)).items()]


def _added(
    sheets: Iterable[Sheet], name: str, which: Literal["counters", "gauges"], kind: Kind = "sum"
) -> list[tuple[list[str], float]]:
    """One metric of several sheets: for each set of labels the sum, or the greatest or least value."""
    found: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
    for sheet in sheets:
        for labels, value in getattr(sheet, which).get(name, ()):
            found[tuple(labels)].append(value)
    one = {"max": max, "min": min}.get(kind, sum)
    return [(list(labels), one(values)) for labels, values in found.items()]


def _joined(sheets: Iterable[Sheet], name: str) -> tuple[list[int], float]:
    """One histogram of several sheets."""
    joined = Histogram()
    for sheet in sheets:
        counts, total = sheet.histograms.get(name, ([], 0.0))
        # Sheets of one folder are of one version, with the same bounds.
        joined.counts = [a + b for a, b in zip(joined.counts, counts, strict=True)] if counts else joined.counts
        joined.total += total
    return joined.counts, joined.total
