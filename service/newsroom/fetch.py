"""Fetch: the OpenID provider's documents, in bounded time and of bounded size, kept for a while."""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Generic, TypeVar
from urllib.parse import urlsplit

import httpx
import structlog

from service.errors import UnavailableError
from service.provider import is_loopback, may_be_asked

# One question, all in all: somebody sits before a blank page meanwhile.
CONNECT_SECONDS, ANSWER_SECONDS = 3.0, 6.0
# Real ones have up to some 20 KB.
LARGEST = 262_144
# A provider may change its addresses and keys; a key that we do not know is asked for at once.
KEPT_SECONDS = 3600.0
# Who tries while it is down is told so without another question.
FAILED_SECONDS = 2.0

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Fetcher:
    """Asks one provider; `name` is for people."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def ask(
        self, url: str, *, form: dict[str, str] | None = None, login: tuple[str, str] | None = None
    ) -> tuple[int, bytes]:
        """GET an address, or POST a form to it, and return the status and the body. No redirect is followed.

        Raises:
            UnavailableError: there is no such answer in time.
        """
        if not may_be_asked(url):
            raise self.unavailable("an address of https", "another", url=url[:200])
        # A provider on this machine is not asked by way of a proxy.
        proxied = not is_loopback(urlsplit(url).hostname or "")
        # Not unpacked: a small answer could become a large one.
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        body = bytearray()
        try:
            async with (
                asyncio.timeout(ANSWER_SECONDS),
                httpx.AsyncClient(
                    verify=self._trust,
                    timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
                    trust_env=proxied,
                ) as client,
                client.stream(
                    "GET" if form is None else "POST", url, data=form, headers=headers, auth=login
                ) as response,
            ):
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise self.unavailable("an answer that is not packed", "one that is", url=url)
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > LARGEST:
                        raise self.unavailable(f"an answer of at most {LARGEST} bytes", "more", url=url)
                return response.status_code, bytes(body)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as error:
            # Its text alone may be empty; none has more of the request than its address.
            why = f"{type(error).__name__}: {error}"[:300]
            raise self.unavailable("an answer in time", "none", url=url, why=why) from None

    def unavailable(self, expected: str, got: str, **logged: object) -> UnavailableError:
        """What people are told; what exactly is wrong is logged for who runs the service."""
        log.warning("no use of the OpenID provider", expected=expected, got=got, **logged)
        return UnavailableError(
            f"{self._name} cannot be reached, or does not answer as expected ({expected}; got {got}). Try again in a "
            "moment, or sign in with a name and a password of the desk's own",
            retry_after=5,
        )

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()


class Kept(Generic[T]):
    """What one question last brought. Those who want it together ask once."""

    def __init__(self, question: Callable[[], Awaitable[T]]) -> None:
        self._question = question
        self._turn = asyncio.Lock()
        self._answer: tuple[float, T] | None = None
        self._failure: tuple[float, UnavailableError] | None = None

    async def get(self, *, newer_than: float = 0.0) -> T:
        """The answer; asked for anew where it is old, or not newer than that moment of `time.monotonic`.

        Raises:
            UnavailableError: there is none.
        """
        async with self._turn:
            now = time.monotonic()
            if self._answer is not None:
                at, answer = self._answer
                if now - at < KEPT_SECONDS and at > newer_than:
                    return answer
            if self._failure is not None and now - self._failure[0] < FAILED_SECONDS:
                failure = self._failure[1]
                raise UnavailableError(failure.detail, retry_after=failure.retry_after)
            try:
                answer = await self._question()
            except UnavailableError as error:
                self._failure = (time.monotonic(), error)
                raise
            self._answer, self._failure = (time.monotonic(), answer), None
            return answer
