"""Who may ask a served model at all.

On loopback only pages of this server and programs of this machine are answered: Host and Origin are looked at, against
DNS rebinding and other sites' pages. Elsewhere only who has a key is.
"""

import hmac
from dataclasses import dataclass, field

from starlette.requests import Request

from archipel.serve.question import NoKey, NotFromHere

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class Access:
    """Who may ask."""

    hosts: frozenset[str] = frozenset(LOOPBACK)
    """Names that this server goes by, without port; empty: any."""
    keys: tuple[str, ...] = ()
    """One of these is needed; none: nobody needs one."""
    origins: frozenset[str] = field(default=frozenset())
    """Pages from elsewhere that may ask."""

    def check_origin(self, request: Request) -> None:
        """Raises NotFromHere: another name, or another site's page."""
        host = request.headers.get("host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if self.hosts and name not in self.hosts:
            raise NotFromHere(
                f"this server does not go by {name!r:.80}; use {' or '.join(sorted(self.hosts))}"
            )
        origin = request.headers.get("origin")
        if origin is not None and origin not in self.origins and origin.partition("://")[2] != host:
            raise NotFromHere(f"a page of {origin!r:.80} asks; only this server's own may")

    def caller(self, request: Request) -> str:
        """Whose turn it is, among those who wait.

        Raises:
            NotFromHere: another name, or another site's page. NoKey: without its key.
        """
        self.check_origin(request)
        if not self.keys:
            return "local"
        said = request.headers.get("x-api-key") or request.headers.get(
            "authorization", ""
        ).removeprefix("Bearer ")
        for place, key in enumerate(self.keys):
            if hmac.compare_digest(said.encode(), key.encode()):
                return f"key {place}"
        raise NoKey("the API key is missing or wrong; send it as Authorization: Bearer KEY")
