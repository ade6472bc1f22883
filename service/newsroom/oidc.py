"""Oidc: who somebody is, by an OpenID Connect provider's word (Core 1.0; Discovery 1.0; RFC 7636, RFC 9700).

Desk in, the provider's documents by Fetch, an Identity out. Nothing is asked before the first sign-in. Loaded only
where a provider is configured: cryptography costs each process 11 MB.
"""

import secrets
import time
from collections.abc import Mapping
from typing import NamedTuple, TypeVar
from urllib.parse import quote_plus

import msgspec
import structlog
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import JWKRegistry, KeySet

from service.errors import UnauthenticatedError
from service.newsroom.fetch import Fetcher, Kept
from service.provider import DeskRole, Provider, may_be_asked
from service.store.coming import Coming

# Signatures that only the provider can make. Never `none`; never HS256, which a public key or our secret would do for.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
# How far the provider's clock may be from ours.
LEEWAY_SECONDS = 60
# More keys than any provider has at a time, longer names than any gives.
MOST_KEYS, LONGEST_SUBJECT, MOST_ROLES = 100, 255, 1_000
SCOPE = "openid profile email"

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Identity(NamedTuple):
    """Who somebody is over there. `role` is None for those whom nothing gives one at the desk."""

    subject: tuple[str, str]
    name: str
    role: DeskRole | None


class Discovery(msgspec.Struct, frozen=True):
    """What we use of the provider's description of itself (Discovery 1.0, section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    # RFC 9207: whether its answers say whose they are.
    authorization_response_iss_parameter_supported: bool = False


class Jwks(msgspec.Struct, frozen=True):
    """A set of keys (RFC 7517, section 5)."""

    keys: list[dict[str, object]]


class Tokens(msgspec.Struct, frozen=True):
    """What a code is exchanged for. The access token is only used to check what the ID token says of it."""

    id_token: str
    access_token: str | None = None

    def __repr__(self) -> str:
        return "Tokens(…)"


class Oidc:
    """One provider, as this process knows it."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self._fetcher = Fetcher(provider.name)
        self._discovery = Kept(self._discover)
        self._keys = Kept(self._fetch_keys)

    async def leave(self, redirect_uri: str, before: str | None) -> tuple[str, str, Coming]:
        """Where somebody must go to sign in, the state that comes back from there, and what the answer must fit.

        Raises:
            UnavailableError: the provider cannot be reached, or makes no sense.
        """
        found = await self._discovery.get()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        url: str = prepare_grant_uri(
            found.authorization_endpoint,
            client_id=self.provider.client_id,
            response_type="code",
            redirect_uri=redirect_uri,
            scope=SCOPE,
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        return url, state, Coming(nonce=nonce, verifier=verifier, redirect_uri=redirect_uri, before=before)

    async def identify(self, answer: Mapping[str, str], given: Coming) -> Identity:
        """Who it is that came back with this answer.

        Raises:
            UnauthenticatedError: the provider, or what it says, does not prove who that is.
            UnavailableError: the provider cannot be reached, or makes no sense.
        """
        found = await self._discovery.get()
        issuer = answer.get("iss")
        if issuer is None and found.authorization_response_iss_parameter_supported:
            raise self._refused("an answer that says whose it is", "one that does not")
        if issuer not in (None, self.provider.issuer):
            raise self._refused("an answer of this provider", "another's")
        if "error" in answer:
            # What stands there came by way of the browser: we do not repeat words that we do not know.
            got = "a refusal" if answer["error"] != "access_denied" else "access_denied: it does not let you in here"
            raise self._refused("a sign-in", got, error=answer["error"][:100])
        if not answer.get("code"):
            raise self._refused("a code", "none")
        tokens = await self._exchange(found, answer["code"], given)
        return self._identity(await self._claims(tokens, given.nonce))

    async def _exchange(self, found: Discovery, code: str, given: Coming) -> Tokens:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": given.redirect_uri,
            "code_verifier": given.verifier,
        }
        client, secret, login = self.provider.client_id, self.provider.client_secret, None
        methods = found.token_endpoint_auth_methods_supported
        if "client_secret_basic" in methods or "client_secret_post" not in methods:
            login = (quote_plus(client), quote_plus(secret))  # RFC 6749, section 2.3.1
        else:
            form |= {"client_id": client, "client_secret": secret}
        status, body = await self._fetcher.ask(found.token_endpoint, form=form, login=login)
        if 400 <= status < 500:
            # Its body may repeat the code; the error's name does not (RFC 6749, section 5.2).
            raise self._refused("a code that the provider takes", "another", status=status, error=_error_of(body))
        if status != 200:
            raise self._fetcher.unavailable("the tokens of a code", f"status {status}")
        return self._read(body, Tokens, "the tokens of a code")

    async def _claims(self, tokens: Tokens, nonce: str) -> CodeIDToken:
        began = time.monotonic()
        try:
            try:
                read = jwt.decode(tokens.id_token, await self._keys.get(), algorithms=ALGORITHMS)
            except InvalidKeyIdError:
                # The provider has a new key: look once. A second look would only be for who made a key up.
                read = jwt.decode(tokens.id_token, await self._keys.get(newer_than=began), algorithms=ALGORITHMS)
            claims = CodeIDToken(
                read.claims,
                read.header,
                options={
                    "iss": {"essential": True, "value": self.provider.issuer},
                    "aud": {"essential": True, "value": self.provider.client_id},
                    "sub": {"essential": True},
                },
                params={"nonce": nonce, "client_id": self.provider.client_id, "access_token": tokens.access_token},
            )
            claims.validate(leeway=LEEWAY_SECONDS)
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            # These name the claim or the header, not what is in it.
            raise self._refused("a valid ID token", "another", why=str(error)[:200]) from None
        return claims

    def _identity(self, claims: CodeIDToken) -> Identity:
        subject: str = claims["sub"]
        if not 1 <= len(subject) <= LONGEST_SUBJECT:
            raise self._refused(f"a subject of at most {LONGEST_SUBJECT} characters", str(len(subject)))
        # An address that nobody has proved may be anybody's.
        email = claims.get("email") if claims.get("email_verified", True) is True else None
        names = (claims.get("preferred_username"), email, subject)
        name = next(name for name in names if isinstance(name, str) and name.strip())
        role = self.provider.role_of(_roles_of(claims, self.provider.role_claim))
        return Identity((self.provider.issuer, subject), name, role)

    async def _discover(self) -> Discovery:
        url = self.provider.issuer.rstrip("/") + "/.well-known/openid-configuration"
        found = self._read(await self._document(url), Discovery, "a discovery document")
        # Else another's document would have its tokens taken for this one's (Discovery 1.0, section 4.3).
        if found.issuer != self.provider.issuer:
            raise self._fetcher.unavailable("a discovery document of the issuer that is configured", "another's")
        if not all(may_be_asked(each) for each in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri)):
            raise self._fetcher.unavailable("addresses of https in the discovery document", "others")
        return found

    async def _fetch_keys(self) -> KeySet:
        found = await self._discovery.get()
        jwks = self._read(await self._document(found.jwks_uri), Jwks, "a set of keys")
        keys = []
        for each in jwks.keys[:MOST_KEYS]:
            if each.get("kty") in ("RSA", "EC", "OKP") and each.get("use", "sig") == "sig":
                try:
                    keys.append(JWKRegistry.import_key(each))  # type: ignore[arg-type]
                except (JoseError, ValueError, TypeError):
                    continue  # one that we cannot read keeps nobody from the others (RFC 7517, section 5)
        if not keys:
            raise self._fetcher.unavailable("a set of keys", "one without any that is of use")
        return KeySet(keys)

    async def _document(self, url: str) -> bytes:
        status, body = await self._fetcher.ask(url)
        if status != 200:
            raise self._fetcher.unavailable("status 200", str(status), url=url)
        return body

    def _read(self, body: bytes, kind: type[T], what: str) -> T:
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # Not even its error is logged, which may show a part of it.
            raise self._fetcher.unavailable(what, "something else") from None

    def _refused(self, expected: str, got: str, **logged: object) -> UnauthenticatedError:
        log.warning("sign-in by OpenID refused", expected=expected, got=got, **logged)
        return UnauthenticatedError(f"expected {expected} from {self.provider.name}, got {got}: begin again")


def _roles_of(claims: Mapping[str, object], path: str) -> list[str]:
    """The roles at a claim. A name with dots in it, such as an address, may be a claim's own."""
    found: object = claims
    for name in [path] if path in claims else path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if isinstance(found, str):
        return [found]
    return [role for role in found[:MOST_ROLES] if isinstance(role, str)] if isinstance(found, list) else []


def _error_of(body: bytes) -> str:
    class Refusal(msgspec.Struct):
        error: str = ""

    try:
        return msgspec.json.decode(body, type=Refusal).error[:100]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
