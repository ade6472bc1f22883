"""Api client: calls to the newsroom's API, for the command line and the demonstration."""

from typing import Any, cast

import httpx

from service.errors import StoppressError, UnavailableError


class Api:
    """Calls to the service, with errors that say what to do."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url.rstrip("/")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        # Not through a proxy of the environment: the service is ours, and mostly on this machine.
        self._client = httpx.Client(base_url=self.url, headers=headers, trust_env=False)

    def send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        content: bytes | None = None,
        version: int | None = None,
        seconds: float = 15,
    ) -> dict[str, Any]:
        """Call, and return the answer's JSON; each step of the way may take so many `seconds`.

        Raises:
            UnavailableError: it may have been accepted, which is not known.
            StoppressError: the service is down, or refuses.
        """
        headers = {"prefer": "wait=2"} if method != "GET" else {}
        if version is not None:
            headers["if-match"] = f'"{version}"'
        try:
            response = self._client.request(method, path, json=body, content=content, headers=headers, timeout=seconds)
            answer = response.json()
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise StoppressError(f"expected --url such as http://127.0.0.1:8000, got {self.url!r}") from None
        except httpx.TransportError as error:
            if not isinstance(error, httpx.ConnectError):
                doubt = "" if method == "GET" else ": whether this was accepted is not known"
                raise UnavailableError(
                    f"the service at {self.url} did not answer ({error or type(error).__name__}){doubt}"
                ) from None
            raise StoppressError(
                f"no service at {self.url} ({error}): start one with `stoppress up`, or say where it is with --url"
            ) from None
        except ValueError:
            raise StoppressError(f"what answers at {self.url} is no Stoppress (HTTP {response.status_code})") from None
        if response.is_error:
            kind = UnavailableError if response.status_code == 503 else StoppressError
            raise kind(answer.get("detail", str(answer)), path=answer.get("path"))
        return cast(dict[str, Any], answer)
