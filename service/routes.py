"""Routes: every address of the service, readable as documentation."""

from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from service.gateway import snapshot
from service.gateway.socket import socket
from service.newsroom import api, ingest
from service.web import archive, desk, desk_sso, feeds, home, live, ops
from service.web.assets import Assets


def routes() -> list[BaseRoute]:
    """The URL table."""
    return [
        Route("/", home.home),
        Mount("/static", Assets()),
        # Readers.
        Route("/v1/editions", snapshot.editions),
        Route("/v1/editions/{edition}/ticker", snapshot.ticker),
        WebSocketRoute("/v1/editions/{edition}/socket", socket),
        Route("/v1/editions/{edition}/socket", snapshot.no_socket),
        Route("/v1/editions/{edition}/feed.atom", feeds.atom),
        Route("/v1/editions/{edition}/feed.json", feeds.jsonfeed),
        Route("/v1/editions/{edition}/ninjs", feeds.ninjs),
        # Staff and wires.
        Route("/v1/items", api.create_item, methods=["POST"]),
        Route("/v1/items", api.list_items),
        Route("/v1/items/{id}", api.get_item),
        Route("/v1/items/{id}", api.change_item, methods=["PATCH"]),
        Route("/v1/items/{id}/{action}", api.act_on_item, methods=["POST"]),
        Route("/v1/ingest/ninjs", ingest.ninjs, methods=["POST"]),
        # The desk.
        Route("/desk", desk.home),
        Route("/desk/wall", live.wall),
        Route("/desk/board", live.board),
        Route("/desk/stream", live.stream),
        Route("/desk/open", live.opened, methods=["POST"]),
        Route("/desk/jobs/{id}/retry", live.retry, methods=["POST"]),
        Route("/desk/similar", desk.similar, methods=["POST"]),
        Route("/desk/sign-in", desk.sign_in),
        Route("/desk/sign-in", desk.start, methods=["POST"]),
        Route("/desk/sign-out", desk.end, methods=["POST"]),
        Route("/desk/oidc/start", desk_sso.begin),
        Route("/desk/oidc/callback", desk_sso.finish),
        # Its memory.
        Route("/desk/search", archive.search),
        Route("/desk/items/{id}", archive.item),
        Route("/desk/items/{id}/report.csv", archive.report_csv),
        Route("/desk/audit", archive.audit),
        Route("/desk/audit/export", archive.export),
        # Operators.
        Route("/healthz", ops.healthz),
        Route("/readyz", ops.readyz),
        Route("/metrics", ops.metrics),
    ]
