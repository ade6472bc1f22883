"""Approval: the two-person rule, checked on a decision before it is written.

In an edition's configured urgencies nobody puts a text on the air alone: one hands it in, another approves it. Taking a
line off never waits for anybody. Who is alone with a flash passes the rule over by saying why, and the audit keeps it.
"""

import msgspec

from service.domain.edition import Edition
from service.domain.lifecycle import WAITING, Decision, Record, second_needed
from service.errors import SecondPersonError

# What brings a text before readers. A release brings back one that was approved before.
TEXTS = ("update", "correct", "refile")


def require_second(edition: Edition, before: Record | None, decision: Decision, override: str | None) -> Decision:
    """Return the decision as it may be written: as it is, or with the reason of the override.

    Raises:
        SecondPersonError: it takes somebody else, or a reason.
    """
    record = decision.record
    if record.item is None or not second_needed(edition, before, record.item.urgency):
        return decision
    if decision.action == "approve":
        if before is not None and record.changed_by in (before.written_by, before.submitted_by):
            raise SecondPersonError(
                f"expected somebody else to approve this, got {record.changed_by}, who wrote it or handed it in"
            )
        return decision
    publishes = decision.action in ("create", "publish") and record.state in ("live", *WAITING)
    # The clock brings what was let through when it was published; a text on the air is changed for readers at once.
    changes = decision.action in TEXTS and record.public
    approved = before is not None and before.approved_by is not None and publishes
    if not (publishes or changes) or approved or record.changed_by == "clock":
        return decision
    reason = (override or "").strip()
    if not reason:
        word = ("flash", "bulletin", "urgent", "routine")[record.item.urgency - 1]
        raise SecondPersonError(
            f"expected a second person: in {edition.code} a {word} line goes on air when somebody else has approved "
            "it. Submit it, or say in `override` why it cannot wait"
        )
    return msgspec.structs.replace(decision, override=reason)
