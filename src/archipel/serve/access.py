"""Who may ask a served model at all.

On loopback only pages of this server and programs of this machine are answered: Host, Origin and what browsers say of
where a request comes from are looked at, against DNS rebinding and other sites' pages. Elsewhere only who has a key is.
"""

import hmac
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from starlette.requests import Request

from archipel.serve.question import NoKey, NotFromHere, NotYours

LOCAL = "local"
"""Whoever asks where nobody needs a key."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
MAX_KEYS = 1024
MAX_KEYS_BYTES = 262_144
MIN_KEY_CHARS, MAX_KEY_CHARS = 16, 200
OWN_SITES = ("same-origin", "none")
"""Sec-Fetch-Site of this server's own pages, and of what its user typed. Another port of this machine is
`same-site`, and so another's."""


class InvalidKeys(ValueError):
    """A file of API keys that cannot be used."""


@dataclass(frozen=True)
class Access:
    """Who may ask."""

    hosts: frozenset[str] = frozenset(LOOPBACK)
    """Names that this server goes by, in small letters, without port; empty: any."""
    keys: tuple[str, ...] = ()
    """One of these is needed; none: nobody needs one. The first is whose server it is."""
    origins: frozenset[str] = field(default=frozenset())
    """Pages from elsewhere that may ask."""

    def check_origin(self, request: Request, *, is_page: bool = False) -> None:
        """is_page: what is asked for may be gone to by a link from anywhere.

        Raises:
            NotFromHere: another name, or another site's page.
        """
        hosts = request.headers.getlist("host")
        host = hosts[0].lower() if hosts else ""
        if len(hosts) > 1 or (self.hosts and _name_of(host) not in self.hosts):
            known = " or ".join(sorted(self.hosts)) or "one name"
            raise NotFromHere(f"this server does not go by {', '.join(hosts)!r:.80}; use {known}")
        origins = request.headers.getlist("origin")
        for origin in origins:
            if origin not in self.origins and not _is_of(origin, host):
                raise NotFromHere(f"a page of {origin!r:.80} asks; only this server's own may")
        site = request.headers.get("sec-fetch-site", "none")
        is_visit = is_page and request.headers.get("sec-fetch-mode") == "navigate"
        if site not in OWN_SITES and not is_visit and not origins:
            raise NotFromHere("a page of another site asks; only this server's own may")

    def caller(self, request: Request) -> str:
        """Whose turn it is, among those who wait.

        Raises:
            NotFromHere: another name, or another site's page. NoKey: without its key.
        """
        self.check_origin(request)
        if not self.keys:
            return LOCAL
        scheme, _, told = request.headers.get("authorization", "").partition(" ")
        said = request.headers.get("x-api-key") or (told if scheme.lower() == "bearer" else "")
        for place, key in enumerate(self.keys):
            if hmac.compare_digest(said.encode(), key.encode()):
                return user(place)
        raise NoKey("the API key is missing or wrong; send it as Authorization: Bearer KEY")

    def check_sums(self, caller: str) -> None:
        """Raises NotYours: what all asked together is for the first key alone; others could take their own from it."""
        if caller not in (LOCAL, user(0)):
            raise NotYours("sums over all keys' questions are for the first key of the file alone")


def user(place: int) -> str:
    """What the door calls whoever has the key of this place in the file."""
    return f"key {place}"


def keys_of(path: Path) -> tuple[str, ...]:
    """API keys in a file: one a line, after a name if you like; empty lines and those that begin with # are passed over.

    Raises:
        OSError: it cannot be read. InvalidKeys: others can read it, or it holds no keys.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode) or stat.S_IMODE(mode) & 0o077:
            raise InvalidKeys(
                f"{path} has mode {stat.S_IMODE(mode):04o}, so others may have its keys; expected a file of mode 0600: "
                f"chmod 600 {path}"
            )
        data = file.read(MAX_KEYS_BYTES + 1)
    try:
        return read_keys(data)
    except InvalidKeys as error:
        raise InvalidKeys(f"{path}: {error}") from None


def read_keys(data: bytes) -> tuple[str, ...]:
    """The keys that such a file holds.

    Raises:
        InvalidKeys: none, too many, one twice, or one that is no key.
    """
    found: dict[str, int] = {}
    if len(data) > MAX_KEYS_BYTES or not data.isascii():
        raise InvalidKeys(f"no text of at most {MAX_KEYS_BYTES} ASCII characters")
    for number, line in enumerate(data.decode("ascii").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        key = words[-1]
        if (
            len(words) > 2
            or not MIN_KEY_CHARS <= len(key) <= MAX_KEY_CHARS
            or not key.isprintable()
        ):
            raise InvalidKeys(
                f"line {number}: expected [NAME] KEY, a key of {MIN_KEY_CHARS} to {MAX_KEY_CHARS} characters"
            )
        if key in found:
            raise InvalidKeys(
                f"lines {found[key]} and {number} are one key; give each user another"
            )
        found[key] = number
    if not 1 <= len(found) <= MAX_KEYS:
        raise InvalidKeys(f"{len(found)} keys; expected 1 to {MAX_KEYS}, one a line")
    return tuple(found)


def _name_of(host: str) -> str:
    """A Host header without port, and without the dot that may end a name."""
    name, _, port = host.rpartition(":")
    if not (name and port.isascii() and port.isdigit()):
        name = host
    return name.removesuffix(".")


def _is_of(origin: str, host: str) -> bool:
    """Whether a page is this server's own; `null` is nobody's."""
    scheme, _, place = origin.lower().partition("://")
    return scheme in ("http", "https") and place == host != ""
