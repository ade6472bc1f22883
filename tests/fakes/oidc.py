"""A small OpenID Connect provider on loopback: the real protocol; it approves at once, and misbehaves on demand."""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable
from html import escape
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote_plus, urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT_ID = "stoppress"
# With characters that HTTP's basic login has to encode.
CLIENT_SECRET = "s3cret:+ %/of-the-client"
DEADLINE_SECONDS = 10


def rsa_key() -> Key:
    """A key of a kid of its own."""
    return RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig"})


def ec_key() -> Key:
    """Likewise, of the other kind."""
    return ECKey.generate_key("P-256", {"kid": secrets.token_hex(4), "use": "sig"})


class FakeProvider:
    """One provider. `user` is who signs in next; what `reset` sets after that is for misbehaving."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.issuer = f"http://{host}:{self.port}"
        self._grants: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.reset()
        routes = [
            Route("/.well-known/openid-configuration", self._discovery),
            Route("/authorize", self._authorize),
            Route("/token", self._token, methods=["POST"]),
            Route("/jwks", self._jwks),
            Route("/elsewhere", self._discovery),
        ]
        config = uvicorn.Config(Starlette(routes=routes), log_level="critical", lifespan="off", ws="none")
        self._server = uvicorn.Server(config)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="provider")

    def reset(self) -> None:
        """A provider that behaves, with a key that nobody has seen."""
        self.user: dict[str, Any] = {"sub": "1", "preferred_username": "somebody", "roles": ["editor"]}
        self.key = rsa_key()
        self.published: list[dict[str, Any]] = [self.key.as_dict(private=False)]
        self.sign: Callable[[dict[str, Any]], str] = self.signed
        self.claims: dict[str, Any] = {}
        self.discovery: dict[str, Any] = {}
        self.answers: dict[str, Callable[[], Response]] = {}
        self.error: str | None = None
        self.says_iss: str | None = None
        self.codes: list[str] = []
        # Whether a person must press something, as where a real one asks for a password.
        self.asks = False

    def signed(self, claims: dict[str, Any]) -> str:
        """An ID token as it should be."""
        algorithm = "RS256" if isinstance(self.key, RSAKey) else "ES256"
        return jwt.encode({"alg": algorithm, "kid": self.key.kid}, claims, self.key)

    def unsigned(self, claims: dict[str, Any]) -> str:
        """One of the algorithm `none`, by the kid of the key."""
        header = {"alg": "none", "kid": self.key.kid}
        return f"{_json(header)}.{_json(claims)}."

    def signed_with_the_public_key(self, claims: dict[str, Any]) -> str:
        """One whose HMAC has the public key for a secret, which takes whoever mixes up the two for the provider."""
        signed = f"{_json({'alg': 'HS256', 'kid': self.key.kid})}.{_json(claims)}"
        public: bytes = self.key.as_pem(private=False)  # type: ignore[attr-defined]
        return f"{signed}.{_base64(hmac.digest(public, signed.encode(), 'sha256'))}"

    def rotate(self, key: Key | None = None) -> None:
        """Sign with another key from now on; the old one is withdrawn."""
        self.key = key or rsa_key()
        self.published = [self.key.as_dict(private=False)]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Go down: who connects is refused."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        try:
            self._loop.run_until_complete(self._server.serve(sockets=[self._listener]))
        finally:
            self._listener.close()
            self._loop.close()

    async def _discovery(self, request: Request) -> Response:
        return self._answer(request) or JSONResponse(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize?tenant=news",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            }
            | self.discovery
        )

    async def _jwks(self, request: Request) -> Response:
        return self._answer(request) or JSONResponse({"keys": self.published})

    async def _authorize(self, request: Request) -> Response:
        """Approve `user` at once. What a real provider would refuse fails here loudly."""
        self.asked.append(request.url.path)
        query = request.query_params
        assert query["tenant"] == "news"
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT_ID
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        assert len(query["state"]) >= 22
        assert len(query["nonce"]) >= 22
        back = {"state": query["state"]} | ({"iss": self.says_iss} if self.says_iss else {})
        if self.error is not None:
            back |= {"error": self.error, "error_description": "<b>because</b>"}
        else:
            back["code"] = secrets.token_urlsafe(16)
            self.codes.append(back["code"])
            self._grants[back["code"]] = dict(query)
        place = f"{query['redirect_uri']}?{urlencode(back)}"
        if self.asks:
            return HTMLResponse(f'<title>Provider</title><a href="{escape(place)}">Approve</a>')
        return RedirectResponse(place, 302)

    async def _token(self, request: Request) -> Response:
        answer = self._answer(request)
        if answer is not None:
            return answer
        form = await request.form()
        methods = self.discovery.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        login = (form.get("client_id"), form.get("client_secret"))
        if "client_secret_basic" in methods:
            _, _, packed = request.headers.get("authorization", "").partition(" ")
            name, _, secret = base64.b64decode(packed).decode().partition(":")
            login = (unquote_plus(name), unquote_plus(secret))
        if login != (CLIENT_ID, CLIENT_SECRET):
            return JSONResponse({"error": "invalid_client"}, 401)
        grant = self._grants.pop(str(form.get("code")), None)  # once
        verifier = str(form.get("code_verifier") or "")
        if (
            form.get("grant_type") != "authorization_code"
            or grant is None
            or form.get("redirect_uri") != grant["redirect_uri"]
            or _base64(hashlib.sha256(verifier.encode()).digest()) != grant["code_challenge"]
        ):
            return JSONResponse({"error": "invalid_grant", "error_description": "not this one"}, 400)
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": grant["nonce"]}
        claims |= self.user | self.claims
        token = self.sign({name: value for name, value in claims.items() if value is not None})
        return JSONResponse({"access_token": secrets.token_urlsafe(), "token_type": "Bearer", "id_token": token})

    def _answer(self, request: Request) -> Response | None:
        self.asked.append(request.url.path)
        wrong = self.answers.get(request.url.path)
        return wrong() if wrong is not None else None


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _json(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value).encode())
