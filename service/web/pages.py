"""Pages: what readers see, rendered on the server first, so that it works before and without the script.

The markup of a line is written twice: `line` in templates/ticker.html and `draw` in static/line.js. A browser test
holds them equal.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from urllib.parse import urlsplit

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from service.domain.edition import Edition, direction_of
from service.domain.frames import Snapshot
from service.domain.headline import LONG, LONGEST
from service.domain.instant import format_ms
from service.errors import StoppressError
from service.web import assets
from service.web.visitor import Visitor


class Words(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What the page says in one language; the script gets it as JSON. `{…}` stands for what is filled in."""

    language: str
    title: str
    urgency: tuple[str, str, str, str]
    live: str
    reconnecting: str
    as_of: str
    behind: str
    empty: str
    unavailable: str
    pinned: str
    corrected: str
    told: str
    related: str
    more: str
    all_editions: str
    reloads: str


ENGLISH = Words(
    language="en",
    title="Breaking",
    urgency=("Flash", "Bulletin", "Urgent", "Routine"),
    live="live",
    reconnecting="reconnecting…",
    as_of="as of {time}",
    behind="The newsroom’s feed has been interrupted since {time}",
    empty="No breaking news right now",
    unavailable="The lines cannot be shown at the moment",
    pinned="Pinned",
    corrected="Corrected:",
    told="to {outlet}",
    related="Related",
    more="and {n} more",
    all_editions="All editions",
    reloads="Times are in UTC. This page reloads itself every 30 seconds.",
)
WORDS = {
    "en": ENGLISH,
    "ar": Words(
        language="ar",
        title="عاجل",
        urgency=("عاجل جدًا", "عاجل", "مهم", "خبر"),
        live="مباشر",
        reconnecting="جارٍ إعادة الاتصال…",
        as_of="حتى الساعة {time}",
        behind="انقطع البث الوارد من غرفة الأخبار منذ الساعة {time}",
        empty="لا أخبار عاجلة الآن",
        unavailable="يتعذّر عرض الأخبار في هذه اللحظة",
        pinned="مثبّت",
        corrected="تصويب:",
        told="لـ«{outlet}»",
        related="ذات صلة",
        more="و{n} غيرها",
        all_editions="كل الطبعات",
        reloads="الأوقات بالتوقيت العالمي UTC، وتُحدَّث هذه الصفحة تلقائيًا كل 30 ثانية.",
    ),
    "es": Words(
        language="es",
        title="Última hora",
        urgency=("Flash", "Boletín", "Urgente", "Ordinaria"),
        live="en directo",
        reconnecting="reconectando…",
        as_of="a las {time}",
        behind="La señal de la redacción está interrumpida desde las {time}",
        empty="No hay noticias de última hora",
        unavailable="Las noticias no están disponibles en este momento",
        pinned="Fijada",
        corrected="Corregida:",
        told="a {outlet}",
        related="Relacionadas",
        more="y {n} más",
        all_editions="Todas las ediciones",
        reloads="Las horas son UTC. Esta página se recarga sola cada 30 segundos.",
    ),
}


def words_of(language: str) -> Words:
    """The page's words for a BCP 47 tag: those of its primary language, else English."""
    return WORDS.get(language.lower().split("-")[0], ENGLISH)


def render_tickers(
    editions: Sequence[Edition],
    snapshots: Mapping[str, Snapshot | None],
    now_ms: int,
    behind: Mapping[str, str | None],
) -> str:
    """Render the readers' page with these editions, in this order.

    `snapshots` maps an edition's code to its whole ticker; None, or no entry, says that the lines are not known now,
    which the page tells apart from an empty ticker. `now_ms` is the moment of the snapshots. `behind` maps it to since
    when the service hears no news of it (RFC 3339): then the lines are as of that moment, and the page says so.
    """
    tickers = []
    for edition in editions:
        words = words_of(edition.language)
        snapshot = snapshots.get(edition.code)
        tickers.append(
            {
                "edition": edition,
                "words": words,
                "json": msgspec.json.encode(words).decode(),
                "known": snapshot is not None,
                "behind": behind.get(edition.code),
                "cursor": snapshot.cursor if snapshot is not None else "",
                "items": snapshot.items[: edition.size] if snapshot is not None else [],
            }
        )
    single = tickers[0] if len(tickers) == 1 else None
    return _environment().get_template("ticker.html").render(tickers=tickers, single=single, now=format_ms(now_ms))


def render_sign_in(ticket: str, name: str, error: str, provider: str) -> str:
    """Render the desk's door. With a `ticket` it is one button; `error` says why the last attempt failed.

    `provider` is what the OpenID provider is called, if there is one.
    """
    return _environment().get_template("sign_in.html").render(ticket=ticket, name=name, error=error, provider=provider)


def render_signed_in() -> str:
    """Render the step between an OpenID provider and the desk."""
    return _environment().get_template("signed_in.html").render()


def render_desk(
    visitor: Visitor,
    edition: Edition,
    allowed: Sequence[str],
    *,
    publishes: bool,
    undo_seconds: Sequence[float],
) -> str:
    """Render the desk for one edition. `allowed`: the actions of the visitor's role.

    `undo_seconds` is how long what is published can be taken back, by urgency.
    """
    about = {
        "edition": edition.code,
        "language": edition.language,
        "direction": edition.direction,
        "name": edition.name,
        "csrf": visitor.csrf,
        "user": visitor.account.name,
        "allowed": list(allowed),
        "publishes": publishes,
        "long": LONG,
        "longest": LONGEST,
        "urgency": ENGLISH.urgency,
        "words": msgspec.to_builtins(words_of(edition.language)),
        "tickerStyle": assets.address("ticker.css"),
        "undo": list(undo_seconds),
        "twoPerson": list(edition.two_person),
        "editions": {each.code: {"name": each.name, "direction": each.direction} for each in visitor.editions},
    }
    return render(
        "desk.html",
        **visitor.page,
        editions=visitor.editions,
        edition=edition,
        about=msgspec.json.encode(about).decode(),
        publishes=publishes,
    )


def render(template: str, **values: object) -> str:
    """Render one of the desk's pages."""
    return _environment().get_template(template).render(urgency=ENGLISH.urgency, **values)


def render_wall(visitor: Visitor) -> str:
    """Render the wallboard of a visitor's editions."""
    about = {
        "editions": [
            {"code": each.code, "name": each.name, "language": each.language, "direction": each.direction}
            for each in visitor.editions
        ],
        "urgency": ENGLISH.urgency,
    }
    return render("wall.html", **visitor.page, about=msgspec.json.encode(about).decode())


def render_problem(error: StoppressError) -> str:
    """Render an error for a person with a browser."""
    return _environment().get_template("problem.html").render(problem=error.problem())


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("service.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["direction"] = direction_of
    environment.filters["web_link"] = _web_link
    environment.globals["static"] = assets.address
    return environment


def _web_link(link: str | None) -> str | None:
    # Checked when it came in; once more here, because javascript: would run on every reader's page.
    return link if link and urlsplit(link).scheme in ("http", "https") else None
