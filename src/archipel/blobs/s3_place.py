"""Where blobs lie in an S3-compatible store: `s3://bucket/prefix?endpoint=https://...&region=...&public=https://...`. Pure."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from archipel.records.own_machine import is_own_machine

SCHEME = "s3://"
MAX_CHARACTERS = 2048
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_PREFIX = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*", re.ASCII)
_REGION = re.compile(r"[a-z0-9-]{1,40}", re.ASCII)
_HOST = re.compile(
    r"[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?|\[[0-9a-f:.]{2,45}\](?::[0-9]{1,5})?", re.ASCII
)
DEFAULT_REGION = "us-east-1"
FORM = "s3://BUCKET/PREFIX?endpoint=https://HOST:PORT&region=REGION&public=https://HOST:PORT"
NOBODY = "none"
"""`public=none`: nobody but the lab is sent to the store."""


class BadPlace(ValueError):
    """No place in a store; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket of a server, and what its keys begin with."""

    bucket: str
    prefix: str
    """Empty, or ending in a slash."""
    endpoint: str
    """`https://host` of the server, without a path."""
    region: str
    public: str = ""
    """`https://host` as nodes reach it; empty: as the lab does; `none`: they do not."""

    @property
    def host(self) -> str:
        """As requests say it."""
        return self.endpoint.partition("://")[2]

    @property
    def reached(self) -> str:
        """`https://host` to which nodes are sent; empty: all bytes pass the lab."""
        if self.public:
            return "" if self.public == NOBODY else self.public
        return self.endpoint if is_followed(self.endpoint) else ""

    def path(self, key: str) -> str:
        """Of the object with this key, or of the bucket if it is empty."""
        return f"/{self.bucket}/{key}"


def place_of(url: str, region: str | None = None, endpoint: str | None = None) -> Place:
    """Read an address.

    Args:
        url: see the module's text.
        region: where the address names none.
        endpoint: likewise; None: AWS.

    Raises:
        BadPlace: it has another form.
    """
    if len(url) > MAX_CHARACTERS or not url.startswith(SCHEME):
        raise BadPlace(f"got {url!a:.200}; expected {FORM}")
    try:
        parts = urlsplit(url)
        asked = dict(
            parse_qsl(
                parts.query,
                keep_blank_values=True,
                strict_parsing=bool(parts.query),
                max_num_fields=8,
            )
        )
    except ValueError as error:
        raise BadPlace(f"{url!a:.200}: {error}; expected {FORM}") from None
    unknown = sorted(asked.keys() - {"endpoint", "region", "public"})
    if unknown or parts.fragment:
        raise BadPlace(
            f"{url!a:.200} says {', '.join(unknown) or '#'}; expected only endpoint, region and public, as {FORM}"
        )
    prefix = parts.path.strip("/")
    where = asked.get("region") or region or DEFAULT_REGION
    if not _BUCKET.fullmatch(parts.netloc):
        raise BadPlace(f"{parts.netloc!a:.80} is no bucket; expected {FORM}")
    if prefix and not _PREFIX.fullmatch(prefix):
        raise BadPlace(
            f"{prefix!a:.80} is no prefix; expected letters, digits, dots, dashes and slashes between"
        )
    if not _REGION.fullmatch(where):
        raise BadPlace(f"{where!a:.80} is no region; expected one as eu-central-1")
    server = asked.get("endpoint") or endpoint or f"https://s3.{where}.amazonaws.com"
    return Place(
        parts.netloc,
        f"{prefix}/" if prefix else "",
        _endpoint(server),
        where,
        _public(asked.get("public", "")),
    )


def is_followed(url: str) -> bool:
    """Whether a node may be sent to this `scheme://host`: by TLS, or on its own machine."""
    scheme, _, host = url.partition("://")
    return scheme == "https" or (scheme == "http" and is_own_machine(_without_port(host)))


def _without_port(host: str) -> str:
    inside, bracket, _ = host.removeprefix("[").partition("]")
    return inside if bracket else host.partition(":")[0]


def _public(text: str) -> str:
    if text in ("", NOBODY):
        return text
    shown = _endpoint(text)
    if not is_followed(shown):
        raise BadPlace(
            f"public {text!a:.200}; expected https:// and a host that nodes reach, or {NOBODY}: none is sent to plain HTTP"
        )
    return shown


def _endpoint(text: str) -> str:
    scheme, parted, host = text.rstrip("/").partition("://")
    if scheme not in ("http", "https") or not parted or not _HOST.fullmatch(host):
        raise BadPlace(
            f"endpoint {text!a:.200}; expected http:// or https:// and a host, with no path or password"
        )
    return f"{scheme}://{host}"
