"""HTTP to a door: asked again as long as that makes sense, and no longer.

What passes (408, 409, 429, 5xx, a connection that broke) is asked again with growing pauses, or when the door says, within
`PATIENCE_S`; 402 and all else are told at once. Laws: the key is sent to the door alone; answers are read up to a bound.
Whatever is asked again was made to be: operations have numbers, and sessions a word that they are known by.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from archipel.door.client.said import fault_of
from archipel.door.wire.bounds import MAX_BODY_BYTES
from archipel.door.wire.calls import BASE, IDEMPOTENCY_HEADER, KEY_HEADER

PATIENCE_S = 300.0
"""For one call, over all attempts."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
CONNECT_S, SILENCE_S = 10.0, 90.0
PASSING = frozenset({408, 409, 429})
POLL_AGAIN = 408


class DoorLost(Exception):
    """Nobody answers, for too long."""


class DoorRefused(Exception):
    """The door's own sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """With a status of success, or of a poll that has to be made again."""

    status: int
    body: bytes


class Line:
    """To one door, with one key."""

    def __init__(
        self,
        url: str,
        key: str,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """url: the door's; transport, sleep: for tests.

        Raises:
            DoorLost: that is no address.
        """
        self._url, self._key, self._sleep = url.rstrip("/"), key, sleep
        try:
            self._http = httpx.Client(
                base_url=self._url,
                timeout=httpx.Timeout(SILENCE_S, connect=CONNECT_S),
                transport=transport,
                trust_env=False,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise DoorLost(f"{url!r:.100} is no address of a door: {error}") from None

    def close(self) -> None:
        """Let its connections go."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        media: str = "application/json",
        accept: str = "application/json",
        idempotency: str | None = None,
    ) -> Answer:
        """One call of the protocol. path: after `/api/v1/`.

        Raises:
            DoorRefused: it will not be done, and why.
            DoorLost: no answer that could be used came within `PATIENCE_S`.
        """
        headers = {KEY_HEADER: self._key, "content-type": media, "accept": accept}
        if idempotency is not None:
            headers[IDEMPOTENCY_HEADER] = idempotency
        is_poll = path == "retrieve_future"
        return self._patiently(
            lambda: self._http.build_request(method, BASE + path, content=body, headers=headers),
            MAX_BODY_BYTES,
            is_poll,
        )

    def file(self, path: str, max_bytes: int) -> bytes:
        """What lies at the door's own address `path`, without the key. Raises as `call`."""
        return self._patiently(lambda: self._http.build_request("GET", path), max_bytes).body

    def _patiently(
        self, request: Callable[[], httpx.Request], max_bytes: int, is_poll: bool = False
    ) -> Answer:
        pause_s, until = FIRST_PAUSE_S, time.monotonic() + PATIENCE_S
        while True:
            asked_s: float | None = None
            try:
                answer, asked_s = self._once(request(), max_bytes)
                if answer.status < 300 or (is_poll and answer.status == POLL_AGAIN):
                    return answer
                why = fault_of(answer.status, answer.body)
                if answer.status not in PASSING and answer.status < 500:
                    raise DoorRefused(answer.status, why)
            except httpx.HTTPError as error:
                why = str(error) or type(error).__name__
            except httpx.InvalidURL as error:
                raise DoorLost(f"{self._url} is no address of a door: {error}") from None
            wait_s = min(asked_s or pause_s, 60.0)
            if time.monotonic() + wait_s > until:
                raise DoorLost(f"{self._url} did not do it within {PATIENCE_S:.0f} s: {why}")
            self._sleep(wait_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _once(self, request: httpx.Request, max_bytes: int) -> tuple[Answer, float | None]:
        """The answer, and after how many seconds the door wants to be asked again."""
        answer = self._http.send(request, stream=True)
        try:
            body = bytearray()
            for part in answer.iter_bytes():
                body += part
                if len(body) > max_bytes:
                    raise DoorRefused(
                        answer.status_code,
                        f"{self._url} answers more than {max_bytes} bytes; is it a door?",
                    )
        finally:
            answer.close()
        said = answer.headers.get("retry-after", "")
        asked_s = float(said[:6]) if said.isascii() and said.isdecimal() else None
        return Answer(answer.status_code, bytes(body)), asked_s
