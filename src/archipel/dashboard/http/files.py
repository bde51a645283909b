"""The script, the styles and the chart library of the pages: files of this package and no others."""

import hashlib
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from archipel.dashboard.http.headers import SECURE

KINDS = {
    "app.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "login.js": "text/javascript; charset=utf-8",
    "uPlot.iife.min.js": "text/javascript; charset=utf-8",
    "uPlot.min.css": "text/css; charset=utf-8",
}
"""uPlot 1.6.32 (MIT; its licence lies beside it) as it was published, byte for byte."""
DAY_S = 86_400


@cache
def read(name: str) -> tuple[bytes, str]:
    """A file's bytes and a mark that changes with them."""
    data = (files("archipel.dashboard") / "static" / name).read_bytes()
    return data, hashlib.sha256(data).hexdigest()[:16]


def address(name: str) -> str:
    """With its mark, so that a browser may keep it for a day and yet never shows an old one."""
    return f"/pages/static/{name}?{read(name)[1]}"


def file_routes() -> list[Route]:
    """`/pages/static/NAME`."""

    def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in KINDS:
            return Response("there is no such file\n", 404, SECURE, "text/plain; charset=utf-8")
        data, mark = read(name)
        tag = f'"{mark}"'
        headers = SECURE | {"ETag": tag, "Cache-Control": f"public, max-age={DAY_S}"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(data, headers=headers, media_type=KINDS[name])

    return [Route("/pages/static/{name}", file)]
