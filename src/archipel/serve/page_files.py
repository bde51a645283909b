"""The chat page: the files of this package, nothing from elsewhere, nothing that could be written into."""

from functools import cache
from importlib.resources import files

from starlette.responses import Response

KINDS = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "page.js": "text/javascript; charset=utf-8",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page_file(name: str) -> Response | None:
    """One of them; None: there is no other."""
    if name not in KINDS:
        return None
    return Response(_read(name), media_type=KINDS[name], headers=HEADERS)


@cache
def _read(name: str) -> bytes:
    return (files("archipel.serve") / "page" / name).read_bytes()
