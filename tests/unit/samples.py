"""Samples: an edition, lines and strategies that several unit tests share."""

from typing import Any

import msgspec
from hypothesis import strategies as st

from service.domain.edition import Edition
from service.domain.item import Draft, Item
from service.domain.lifecycle import Record, create
from service.syndication.issue import Issue

NOW_MS = 1_795_489_200_000  # 2026-11-24T03:00:00Z
HOUR_MS = 3_600_000
EN = Edition(code="en", language="en", name="English", direction="ltr")


def draft(**fields: Any) -> Draft:
    """A draft as a caller sends it; `fields` have the wire's names."""
    return Draft.parse(msgspec.json.encode({"edition": "en", "headline": "Ceasefire takes effect", **fields}))


def record(state: str = "live", **fields: Any) -> Record:
    """A record made now, put into `state`."""
    made = create(EN, draft(**fields), state="draft", by="ann", now_ms=NOW_MS).record
    over = {"item": None} if state == "killed" else {}
    public = state in ("live", "withheld", "expired", "killed")
    return msgspec.structs.replace(made, state=state, public=public, **over)  # type: ignore[arg-type]


def item(item_id: str = "a", **fields: Any) -> Item:
    """A line as readers get it."""
    made = create(EN, draft(id=item_id), state="live", by="ann", now_ms=NOW_MS).record.item
    assert made is not None
    return msgspec.structs.replace(made, **fields)


# What JSON can carry: any code point but surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
# What shows on one line, in the scripts that we have editions for.
plain = st.text(st.sampled_from("abc Åéñابتٱـًِّ٣你好😀'-:"), max_size=30).map(lambda text: f"x{text}".rstrip())
# Text that would be markup, an end of a section or an entity if a document let it, and scripts that a codec may break.
HOSTILE = "<script>alert(1)</script> ]]> &lt; &amp; \" ' 😀 𝔄 قال:\u200f (AT&T)"


def issue(*items: Item, edition: Edition = EN, **fields: Any) -> Issue:
    """An issue of an edition, as a feed is made from it."""
    given: dict[str, Any] = {
        "edition": edition,
        "items": list(items),
        "killed": [],
        "address": f"https://news.example/v1/editions/{edition.code}/feed",
        "page": f"https://news.example/?edition={edition.code}",
        "noticed": "2026-11-24T04:00:00.000Z",
    }
    return Issue(**given | fields)
