"""Report: the story of one item from its record, its history and the audit, for its page and as CSV.

A kill empties the history, so that nothing of the text is left; the audit still says who did what, and when.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from service.domain.item import Item
from service.domain.lifecycle import Record, State, Version
from service.store.audit import AuditEntry, Seen
from service.store.reach import Reach
from service.web.differences import Difference, Span, fields, said, words

# A spreadsheet takes a cell that begins so for a formula (OWASP, "CSV Injection"); full-width forms, too.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# Excel takes a file without it for one in the machine's old code page.
MARK = "\ufeff"
MILESTONES = {
    "submit": "Handed in",
    "approve": "Approved",
    "stop": "Stopped",
    "correct": "Corrected",
    "withhold": "Withheld",
    "release": "Released",
    "expire": "Expired",
    "kill": "Killed",
}


class Step(NamedTuple):
    """One thing that was done to the item. `diff` is empty where its headline stayed, or was not compared.

    `place` is None where the audit has no entry of it any more; `more` are further columns of its version.
    """

    rev: int
    version: int
    action: str
    state: State
    at: str
    by: str
    note: str | None
    item: Item | None
    entry: AuditEntry | None
    n: int | None
    link: str | None
    diff: list[Span]
    differing: list[Difference]
    more: Mapping[str, str]


class Milestone(NamedTuple):
    """A moment that somebody who asks later wants to know of."""

    word: str
    at: str
    by: str
    note: str | None


class Report(NamedTuple):
    """What there is to say of an item. Steps are oldest first; `columns` name what `Step.more` holds."""

    record: Record
    steps: list[Step]
    milestones: list[Milestone]
    reach: Reach | None
    columns: list[str]


def build(
    record: Record,
    history: Sequence[Version],
    audit: Sequence[Seen],
    reach: Reach | None,
    more: Mapping[int, Mapping[str, str]],
    compared: int,
) -> Report:
    """Join what is known of an item; of its newest steps, so many as `compared`, say what they changed.

    `more` has further columns for the report by the item's version, such as when it reached the screens; each names
    them in the order in which they are shown.
    """
    steps = list(_steps(history, audit, more, compared))
    columns = list(dict.fromkeys(name for each in more.values() for name in each))
    return Report(record, steps, _milestones(record, steps), reach, columns)


def _steps(
    history: Sequence[Version], audit: Sequence[Seen], more: Mapping[int, Mapping[str, str]], compared: int
) -> Iterator[Step]:
    written = {seen.entry.rev: seen for seen in audit if seen.entry is not None}
    steps = {rev: _version(seen) for rev, seen in written.items()} | {version.rev: version for version in history}
    before: Item | None = None
    revs = sorted(steps)
    # The change that readers got is the last step of a version: what a draft went through before has the same one.
    last = {steps[rev].version: rev for rev in revs if steps[rev].action != "link"}
    for left, rev in zip(range(len(revs), 0, -1), revs, strict=True):
        seen = written.get(rev)
        version = steps[rev]
        item = version.item
        diff: list[Span] = []
        differing: list[Difference] = []
        if left <= compared and before is not None and item is not None:
            diff = words(before.headline, item.headline) if before.headline != item.headline else []
            differing = fields(before, item)
        yield Step(
            rev=rev,
            version=version.version,
            action=version.action,
            state=version.state,
            at=version.at,
            by=version.by,
            note=version.note,
            item=item,
            entry=seen.entry if seen else None,
            n=seen.place.n if seen else None,
            link=seen.place.link if seen else None,
            diff=diff,
            differing=differing,
            more=more.get(version.version, {}) if last.get(version.version) == rev else {},
        )
        before = item or before


def _version(seen: Seen) -> Version:
    """A step that only the audit still knows."""
    entry = seen.entry
    assert entry is not None
    return Version(
        version=entry.version,
        rev=entry.rev,
        action=entry.action,
        state=entry.state,  # type: ignore[arg-type]
        at=entry.at,
        by=entry.by,
        note=entry.note,
    )


def _milestones(record: Record, steps: Sequence[Step]) -> list[Milestone]:
    found = [Milestone("Accepted", record.created_at, record.created_by, None)]
    published = False
    for step in steps:
        word = MILESTONES.get(step.action)
        if step.state == "live" and not published:
            published, word = True, "Published"
        if word is not None:
            # The clock releases what somebody decided about.
            by = record.published_by if word == "Published" and step.by == "clock" else None
            found.append(Milestone(word, step.at, by or step.by, step.note))
    return found


def as_csv(report: Report, *, addresses: bool) -> bytes:
    """Write a report as CSV (RFC 4180), one row a step; `addresses`: with where each call came from."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    rows = [_row(report, step, addresses=addresses) for step in report.steps]
    writer.writerow(rows[0] if rows else [])
    writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return (MARK + text.getvalue()).encode()


def _row(report: Report, step: Step, *, addresses: bool) -> dict[str, Any]:
    item, entry = step.item, step.entry
    before = entry.before if entry is not None else None
    row: dict[str, Any] = {
        "id": report.record.id,
        "edition": report.record.edition,
        "step": step.rev,
        "version": step.version,
        "action": step.action,
        "at (UTC)": step.at,
        "by": step.by,
        "note": step.note,
        "went on alone because": entry.override if entry is not None else None,
        "version before": before.version if before else None,
        "state before": before.state if before else None,
        "state": step.state,
        "fields changed": ", ".join(entry.fields) if entry is not None else None,
        "headline": item.headline if item else None,
        "speaker": item.speaker if item else None,
        "outlet": item.outlet if item else None,
        "urgency": said("urgency", item.urgency) if item else None,
        "section": item.section if item else None,
        "regions": ", ".join(item.regions) if item else None,
        "story": item.link if item else None,
        "expires (UTC)": item.expires if item else None,
        "audit n": step.n,
        "audit link": step.link,
    }
    if addresses:
        row["address"] = entry.address if entry is not None else None
    return row | {name: step.more.get(name) for name in report.columns}


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text
