"""Differences: what one version of a line says that the one before did not, word by word and field by field."""

import re
from difflib import SequenceMatcher
from typing import Any, Literal, NamedTuple

from service.domain.item import Correction, Item, Related
from service.domain.lifecycle import ALWAYS
from service.web.pages import ENGLISH

# A word and the space behind it. Chinese and Japanese put none: there each character is a word.
UNSPACED = "\u3040-\u30ff\u3400-\u9fff"
WORD = re.compile(rf"([{UNSPACED}]|[^\s{UNSPACED}]+)(\s*)")


class Span(NamedTuple):
    """Words that stayed, are gone, or are new; and the space behind them."""

    kind: Literal["same", "gone", "new"]
    text: str
    gap: str


class Difference(NamedTuple):
    """A field that differs, by the name that readers know, and what it says before and after."""

    field: str
    before: str
    after: str


def words(before: str, after: str) -> list[Span]:
    """Compare two headlines word by word: what is gone stands before what is new in its place."""
    old, new = WORD.findall(before), WORD.findall(after)
    matcher = SequenceMatcher(None, [word for word, _ in old], [word for word, _ in new], autojunk=False)
    spans = []
    for kind, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        if kind == "equal":
            spans.append(_span("same", new[new_from:new_to]))
            continue
        if old_from < old_to:
            spans.append(_span("gone", old[old_from:old_to]))
        if new_from < new_to:
            spans.append(_span("new", new[new_from:new_to]))
    if before != after and all(span.kind == "same" for span in spans):
        # Nothing but spaces differ.
        spans = [Span("gone", before, ""), Span("new", after, "")]
    # The last word of the one may stand in the middle of the other.
    gap = " " if " " in before or " " in after else ""
    return [span._replace(gap=span.gap or gap) for span in spans[:-1]] + spans[-1:]


def fields(before: Item, after: Item) -> list[Difference]:
    """What else differs, in the order in which readers get it."""
    return [
        Difference(name, said(field, getattr(before, field)), said(field, getattr(after, field)))
        for field, name in zip(Item.__struct_fields__, Item.__struct_encode_fields__, strict=True)
        if field not in (*ALWAYS, "headline") and getattr(before, field) != getattr(after, field)
    ]


def said(field: str, value: Any) -> str:
    """Say the value of an item's field in words."""
    match value:
        case None | () | "":
            return "none"
        case bool():
            return "yes" if value else "no"
        case int() if field == "urgency":
            return f"{value} {ENGLISH.urgency[value - 1]}"
        case Correction():
            return value.note
        case tuple():
            return ", ".join(f"{each.title} ({each.link})" if isinstance(each, Related) else each for each in value)
        case _:
            return str(value)


def _span(kind: Literal["same", "gone", "new"], found: list[tuple[str, str]]) -> Span:
    text = "".join(word + gap for word, gap in found[:-1]) + found[-1][0]
    return Span(kind, text, found[-1][1])
