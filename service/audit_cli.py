"""`stoppress audit`: take the audit log out, and prove that nobody has touched it."""

import sys
from collections.abc import Iterator
from typing import BinaryIO

import click
import msgspec

from service import here
from service.domain.instant import parse_ms
from service.errors import MalformedError, StoppressError
from service.store.audit import KEPT, AuditEntry, entries, exported, extent
from service.store.chain import Chain, End, Linked, Place
from service.store.connect import of_edition

# What an older export proves, by edition.
Proven = dict[str, dict[int, Place]]


@click.group()
def audit() -> None:
    """Export the audit log, and verify that it is whole.

    Works on Redis itself: STOPPRESS_REDIS_URL, or that of `stoppress up` here.
    """


@audit.command("export")
@click.option("-e", "--edition", help="Only this edition. [default: all]")
@click.option("--since", help="Only what was written from this moment on (RFC 3339).")
@click.option("--until", "ends", help="Only what was written up to this moment (RFC 3339).")
@click.option("--output", default="-", type=click.File("wb"), help="A file to write. [default: standard output]")
def export(edition: str | None, since: str | None, ends: str | None, output: BinaryIO) -> None:
    """Write the audit log as JSON lines, oldest first; one more line closes each edition.

    Each line has an entry as the text that was hashed, its place in the chain and its link: `stoppress audit verify`
    needs the file alone. Keep it where whoever can write to Redis cannot.
    """
    first = None if since is None else parse_ms(since, "--since")
    last = None if ends is None else parse_ms(ends, "--until")
    codes = _editions(edition)
    store = here.redis(here.settings())
    for code in codes:
        output.writelines(exported(of_edition(store, code), code, first, last))


@audit.command("verify")
@click.argument("file", required=False, type=click.File("rb"))
@click.option("-e", "--edition", help="Only this edition. [default: all]")
@click.option("--earlier", type=click.File("rb"), help="An older export, which must be a part of this.")
def verify(file: BinaryIO | None, edition: str | None, earlier: BinaryIO | None) -> None:
    """Verify the live audit log, or FILE, an export of it.

    Finds entries that were edited, moved, put in or taken out, also at the end. Whoever can write to Redis can make a
    whole new chain: --earlier shows that, with an export that was kept elsewhere.

    Ends with status 1 if the chain is broken, and says where first.
    """
    proven = _proven(earlier, edition) if earlier else {}
    chains = _of_file(file, edition, proven) if file else list(_live(edition, proven))
    seen = {chain.edition for chain in chains}
    broken = any(chain.fault for chain in chains)
    for chain in chains:
        click.echo(_sentence(chain))
    for code in proven.keys() - seen:
        broken = True
        click.echo(f"{code}: BROKEN: expected the edition of the earlier export, got none of it")
    if broken:
        sys.exit(1)


def _live(edition: str | None, proven: Proven) -> Iterator[Chain]:
    # An edition that is configured no more is still in the earlier export, and in Redis.
    codes = _editions(edition)
    codes += [code for code in proven if code not in codes]
    store = here.redis(here.settings())
    for code in codes:
        redis = of_edition(store, code)
        now = extent(redis, code)
        chain = Chain(code, earlier=proven.get(code), kept=(KEPT, now.kept))
        if now.last_id is not None:
            for each in entries(redis, code, last=now.last_id):
                chain.add(each)
        chain.close(now.end)
        yield chain


def _of_file(file: BinaryIO, edition: str | None, proven: Proven, *, remember: bool = False) -> list[Chain]:
    chains: dict[str, Chain] = {}
    closed: set[str] = set()
    for number, line in enumerate(file, 1):
        each = _line(line, f"{file.name}, line {number}")
        if edition not in (None, each.edition):
            continue
        if each.edition in closed:
            raise MalformedError(f"{file.name}, line {number}: expected nothing more of {each.edition}, got a line")
        if each.edition not in chains:
            chains[each.edition] = Chain(each.edition, earlier=proven.get(each.edition), remember=remember)
        if isinstance(each, End):
            chains[each.edition].close(each)
            closed.add(each.edition)
        else:
            chains[each.edition].add(each)
    if not chains:
        raise StoppressError(f"{file.name}: expected an export{f' of {edition}' if edition else ''}, got none")
    for code in chains.keys() - closed:
        chains[code].close(None)
    return list(chains.values())


def _proven(file: BinaryIO, edition: str | None) -> Proven:
    """What an older export proves.

    Raises:
        StoppressError: it is broken itself, and so proves nothing.
    """
    chains = _of_file(file, edition, {}, remember=True)
    for chain in chains:
        if chain.fault:
            raise StoppressError(f"{file.name} proves nothing: {_sentence(chain)}")
    return {chain.edition: chain.places for chain in chains if chain.places}


def _line(line: bytes, where: str) -> Linked | End:
    try:
        return msgspec.json.decode(line, type=Linked)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        try:
            return msgspec.json.decode(line, type=End)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise MalformedError(f"{where}: expected a line of an export, got {str(error)[:200]}") from None


def _editions(edition: str | None) -> list[str]:
    known = here.editions(here.settings())
    return [known.named(edition).code] if edition else list(known)


def _sentence(chain: Chain) -> str:
    if chain.fault:
        return f"{chain.edition}: BROKEN: {chain.fault}"
    old = f"; {chain.unlinked} older ones have no link" if chain.unlinked else ""
    if chain.first is None or chain.last is None:
        return f"{chain.edition}: 0 entries{old}"
    start = ""
    if chain.first.n != 1:
        start = f"; starts at n {chain.first.n}"
        if not chain.anchored:
            start += ", whose own text only an earlier export can prove"
    span = f"from {_at(chain.first)} to {_at(chain.last)}"
    return f"{chain.edition}: {chain.length} entries, {span}, unbroken{start}{old}"


def _at(each: Linked) -> str:
    try:
        return msgspec.json.decode(each.entry, type=AuditEntry).at
    except msgspec.MsgspecError:
        return "?"
