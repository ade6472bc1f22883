"""Tail: the live ticker in a terminal, as a board where there is one, else as lines."""

import sys
from collections.abc import Iterator
from datetime import datetime

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from service.client import Lines, Status, follow
from service.domain.frames import ItemChanged, Message, Removed, Snapshot, encode
from service.domain.item import Item

URGENCY = {1: ("FLASH", "bold white on red"), 2: ("BULLETIN", "bold red"), 3: ("URGENT", "bold"), 4: ("routine", "dim")}
STATES = {"live": "green", "reconnecting": "yellow", "behind": "red"}


def tail(base_url: str, edition: str, size: int, query: list[tuple[str, str]], *, key: str | None, form: str) -> None:
    """Follow an edition until interrupted. `form` is `board`, `plain` or `json`."""
    lines = Lines(size)
    messages = follow(base_url, edition, query, lines, key=key)
    if form == "json":
        _json(messages, Console(stderr=True, soft_wrap=True, highlight=False))
    elif form == "plain":
        _plain(messages, Console(soft_wrap=True, highlight=False))
    else:
        _board(edition, lines, messages)


def _json(messages: Iterator[Message | Status], err: Console) -> None:
    """Messages only on standard output. A loss is said once, however many attempts it takes, and so is its end."""
    lost = False
    for message in messages:
        if not isinstance(message, Status):
            if lost:
                lost = False
                err.print(described(Status("live")))
            print(encode(message).decode(), flush=True)  # noqa: T201 - this is the command's output
        elif message.state == "reconnecting" and not lost:
            lost = True
            err.print(described(message))


def _plain(messages: Iterator[Message | Status], out: Console) -> None:
    for message in messages:
        text = described(message)
        if text is not None:
            out.print(text)
            sys.stdout.flush()


def described(message: Message | Status) -> Text | None:
    """What a message says to someone at a terminal; None for what is only for machines."""
    now = f"{datetime.now().astimezone():%H:%M:%S}  "
    match message:
        case Status(state="live", detail="again"):
            return Text.assemble((now, "dim"), ("live again", "green"))
        case Status(state="live"):
            return Text.assemble((now, "dim"), ("connected", "green"))
        case Status(state="behind", detail=since):
            at = datetime.fromisoformat(since).astimezone()
            return Text.assemble(
                (now, "dim"), (f"behind: the service hears no news since {at:%H:%M:%S}", STATES["behind"])
            )
        case Status(state=state, detail=detail):
            return Text.assemble((now, "dim"), (f"{state}: {detail}", STATES[state]))
        case Snapshot(items=items):
            lines = "1 line" if len(items) == 1 else f"{len(items)} lines"
            rows = [Text.assemble((now, "dim"), (f"{lines} on air", "dim"))]
            rows += [Text.assemble((now, "dim"), line_of(item)) for item in reversed(items)]
            return Text("\n").join(rows)
        case ItemChanged(item=item):
            note = Text(f"  [corrected: {item.correction.note}]", "yellow") if item.correction else Text("")
            return Text.assemble((now, "dim"), line_of(item), note)
        case Removed(id=item_id, reason=reason):
            return Text.assemble((now, "dim"), (f"{reason.upper():<9} {item_id}", "magenta"))
    return None


def line_of(item: Item) -> Text:
    """One line as a terminal shows it, with whoever said it, and to whom, in front."""
    word, style = URGENCY[item.urgency]
    pin = "● " if item.pinned else ""
    told = " to ".join(filter(None, (item.speaker, item.outlet)))
    return Text.assemble((f"{word:<9} ", style), pin, (f"{told}: " if told else "", "bold"), item.headline)


def _board(edition: str, lines: Lines, messages: Iterator[Message | Status]) -> None:
    status = Status("reconnecting", "first connection")
    with Live(_table(edition, lines, status), refresh_per_second=8, screen=False) as live:
        for message in messages:
            if isinstance(message, Status):
                status = message
            elif status.state == "behind":
                status = Status("live")
            live.update(_table(edition, lines, status))


def _table(edition: str, lines: Lines, status: Status) -> Group:
    table = Table(box=None, padding=(0, 1), show_header=False, expand=True)
    table.add_column(width=5, style="dim")
    table.add_column(ratio=1, overflow="fold")
    for item in lines.shown():
        at = datetime.fromisoformat(item.published_at).astimezone()
        text = line_of(item)
        if item.correction:
            text.append(f"  [corrected: {item.correction.note}]", "yellow")
        table.add_row(f"{at:%H:%M}", text)
    if not lines.items:
        table.add_row("", Text("nothing on air", "dim"))
    head = Text.assemble(
        ("STOPPRESS ", "bold red"), (edition, "bold"), "  ", (status.state, STATES[status.state]), f"  {status.detail}"
    )
    return Group(head, table)
