"""A lab's address as people type it: one spelling, or one sentence that says what is wrong with it.

Law: pure; nothing is asked of the network. Whoever talks to a lab starts from what this returns.
"""

import contextlib
import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

import httpx

MAX_CHARACTERS = 2000
MAX_ADDRESSES = 8
"""Of one lab."""
DEFAULT_PORTS = {"http": 80, "https": 443}
EXPECTED = "expected http://HOST:PORT or https://HOST"
_BETWEEN = re.compile(r"(?i)\s*,\s*(?=https?://|$)")
_SCHEME = re.compile(r"(?i)^(https?):/*")


class BadAddress(ValueError):
    """No lab can have this address; the message says what was expected."""


def lab_address(text: str) -> str:
    """`scheme://host[:port][/path]` in lower case, without what goes without saying.

    Raises:
        BadAddress: another scheme or none, an IPv6 address without brackets, a port out of range,
            a name or password, or something that is no address at all.
    """
    given = text.strip()
    if not given:
        raise BadAddress(f"the lab's address is empty; {EXPECTED}")
    if len(given) > MAX_CHARACTERS or not given.isprintable() or " " in given or "\\" in given:
        raise BadAddress(f"{given!a:.80} is no address; {EXPECTED}")
    scheme, colon, rest = given.partition("://")
    if not colon:
        raise BadAddress(f"{given!r:.80} does not begin with http://{_meant(given)}")
    if scheme.lower() not in DEFAULT_PORTS:
        raise BadAddress(f"a lab is not reached by {scheme:.20}://; {EXPECTED}")
    if rest.partition("/")[0].count(":") > 1 and "[" not in rest:
        raise BadAddress(f"{given!r:.80} lacks brackets around its IPv6 address{_meant(given)}")
    return _spelled(given, _split(given))


def lab_addresses(text: str) -> tuple[str, ...]:
    """Addresses of one lab, each as `lab_address` spells it, in the order given: `http://A,http://B`.

    Raises:
        BadAddress: one of them is none, or there are more than MAX_ADDRESSES.
    """
    given = _BETWEEN.split(text.strip()) if len(text) <= MAX_ADDRESSES * MAX_CHARACTERS else [text]
    if len(given) > MAX_ADDRESSES:
        raise BadAddress(f"{len(given)} addresses of one lab; at most {MAX_ADDRESSES}")
    return tuple(dict.fromkeys(lab_address(each) for each in given))


def in_brackets(host: str) -> str:
    """A host as it stands in an address: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def _split(given: str) -> SplitResult:
    try:
        parts = urlsplit(given)
        port = parts.port
        httpx.URL(given).raw_host.decode().encode("idna")  # as a name is looked up
    except (ValueError, httpx.InvalidURL) as error:
        raise BadAddress(f"{given!r:.80} is no address ({error}); {EXPECTED}") from None
    if not parts.hostname:
        raise BadAddress(f"{given!r:.80} names no host; {EXPECTED}")
    if port == 0:
        raise BadAddress(f"{given!r:.80} has port 0; expected 1 to 65535")
    if "@" in parts.netloc:
        raise BadAddress("a lab's address carries no name or password; leave out what is before @")
    if parts.query or parts.fragment:
        raise BadAddress(f"{given!r:.80} has a ? or a #; expected only the address of the lab")
    return parts


def _spelled(given: str, parts: SplitResult) -> str:
    scheme, host = parts.scheme.lower(), in_brackets(parts.hostname or "")
    port = "" if parts.port in (None, DEFAULT_PORTS[scheme]) else f":{parts.port}"
    return f"{scheme}://{host}{port}{parts.path.rstrip('/')}"


def _meant(given: str) -> str:
    """A question that guesses, if the guess is an address."""
    found = _SCHEME.match(given)
    scheme, rest = (found[1].lower(), given[found.end() :]) if found else ("http", given)
    authority, slash, path = rest.partition("/")
    guess = f"{scheme}://{_with_brackets(authority)}{slash}{path}"
    with contextlib.suppress(BadAddress):
        return f"; did you mean {_spelled(guess, _split(guess))} ?"
    return f"; {EXPECTED}"


def _with_brackets(authority: str) -> str:
    """`::1:8440` may be an address, but a port at its end is more likely."""
    host, _, port = authority.rpartition(":")
    for address, end in ((host, f":{port}"), (authority, "")):
        with contextlib.suppress(ValueError):
            return f"[{ipaddress.IPv6Address(address)}]{end}"
    return authority
