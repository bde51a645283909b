"""Where pages lie. Law: a link on a page was made here, of parts that are percent-encoded, and leads nowhere else."""

from urllib.parse import quote, urlencode

ROOT = "/pages/"
ROWS = 50
"""Of a list, on one page."""
MAX_START = 10**9


def path(*parts: str) -> str:
    """`/pages/` and these parts."""
    return ROOT + "/".join(quote(each, safe=":") for each in parts)


def run(name: str) -> str:
    return path("runs", name)


def node(did: str) -> str:
    return path("nodes", did)


def operator(did: str) -> str:
    return path("operators", did)


def market(name: str) -> str:
    return path("market", name)


def model(name: str) -> str:
    return path("models", name)


def entry(number: int) -> str:
    return path("ledger", str(number))


def asked(where: str, **words: str | int) -> str:
    """A path with what is asked of it; what is empty is left out."""
    said = {name: str(word) for name, word in words.items() if word not in ("", 0)}
    return f"{where}?{urlencode(said)}" if said else where
