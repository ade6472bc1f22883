"""Keys: every name that Stoppress uses in Redis, in one place.

An edition's keys share the hash tag `{<edition>}`, so that on a Cluster they live on one slot and one script may touch
them all (Redis Cluster specification, "Hash tags").
"""

from binascii import crc_hqx
from typing import NamedTuple

# Not of one edition, so each on a slot of its own.
API_KEYS = "sp:keys"
CLOCK_LEASE = "sp:clock"
DESK_SECRET = "sp:secret"  # noqa: S105 - the name of one
USERS = "sp:users"
# All stories share a slot: the board asks for many at once.
STORIES = "sp:{story}"


def claim(item_id: str) -> str:
    """The hash that says which edition a caller's own id belongs to: one of 16, so that they spread over shards."""
    return f"sp:ids:{crc_hqx(item_id.encode(), 0) % 16:x}"


class Keys(NamedTuple):
    """The keys of one edition.

    items     hash  id -> record (staff's view, JSON)
    heads     hash  id -> "<rev> <version> <state> <token>", what accept.lua compares
    versions  hash  "<id>:<rev>" -> one step of the item's history (JSON)
    changed   zset  id by the time of its last change, for listings
    outbox    list  accepted changes that wait to be appended, oldest first (JSON)
    log       stream  public changes: id "<seq>-0", fields id, frame
    meta      hash  epoch, seq, floor; primary: the replication id of whoever appended or beat last;
              killed: when which item was last, so that Redis's file is scrubbed of it;
              canary_sent, canary: when (ms) the last canary was sent, and the last that got through;
              audit_head, audit_count: the last link of the audit's chain, and how many entries it has had
    live      hash  id -> the item's JSON for readers, of every line on air
    places    hash  id -> its seqs in the log, so that a kill finds them
    due       zset  id by the time (ms) at which the clock must look at it
    audit     stream  who did what: fields entry (JSON), n (its place in the chain, from 1), link
    reach     hash  web process -> its readers and what they have confirmed (JSON)
    hops      hash  "<id>:<version>" -> "<seq> <accepted ms> <queued ms or -> <in the log ms>" of each public change
    opened    hash  tab of a desk -> which item it has open, whose it is and since when (JSON)
    """

    items: str
    heads: str
    versions: str
    changed: str
    outbox: str
    log: str
    meta: str
    live: str
    places: str
    due: str
    audit: str
    reach: str
    hops: str
    opened: str
    # Channels: the news itself, the clock's alarm, and that a desk has something new to show.
    news: str
    alarm: str
    desk: str

    @classmethod
    def of(cls, edition: str) -> "Keys":
        """Name the keys of the edition with this code."""
        return cls(*(f"sp:{{{edition}}}:{name}" for name in cls._fields))


def idempotency(edition: str, digest: str) -> str:
    """Where the answer to a request with an Idempotency-Key is kept for a day."""
    return f"sp:{{{edition}}}:idem:{digest}"


def story(name: str) -> str:
    """The hash edition -> id of the items that say the same; its name is the id of the first of them."""
    return f"{STORIES}:{name}"


def shown(edition: str, item_id: str) -> str:
    """The hash "<version> <web process>" -> when its readers showed it (JSON)."""
    return f"sp:{{{edition}}}:shown:{item_id}"


def session(digest: str) -> str:
    """Who is signed in with the token of this digest."""
    return f"sp:session:{digest}"


def ticket(digest: str) -> str:
    """A one-time sign-in link that was not used yet."""
    return f"sp:ticket:{digest}"


def coming(digest: str) -> str:
    """A sign-in that has gone to the OpenID provider and is not back yet."""
    return f"sp:coming:{digest}"


def attempts(digest: str) -> str:
    """How often somebody tried to sign in of late."""
    return f"sp:attempts:{digest}"
