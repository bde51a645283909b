"""No door is forgotten: every route of every application in the source is drawn by the fuzzer."""

import ast
import re
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from importlib import import_module
from typing import Any

import pytest
from starlette.routing import Mount, Route

from archipel.door.accounts import Accounts
from archipel.door.door import Door
from archipel.door.http.app import make_app
from archipel.door.wire import calls
from archipel.lab.api import make_api
from fuzz import described
from fuzz.at_work import ENDLESS
from fuzz.described import Operation, described_in, operations
from fuzz.doors_of_labs import BLOBS, follower_door, pages_app, witness_door
from fuzz.doors_of_models import model_door
from fuzz.parsers import SOURCE
from toy_hands import ToyHands
from world import World

MAKERS = {"Starlette", "FastAPI", "start_server", "HTTPServer", "ThreadingHTTPServer"}
MAKERS |= {"start_unix_server", "create_server", "start_http_server"}
MADE_IN = {
    "lab/api.py": "lab",
    "lab/following.py": "follower",
    "lab/witness_door.py": "witness",
    "serve/door.py": "model, pool",
    "door/http/app.py": "training",
    "cli/dashboard.py": "pages",
    "node/blob_door.py": "node",
    # Not drawn, and why:
    "serve/pool/listening.py": "devices of a pool speak no HTTP; readers of `pool_said` read their words",
    "bench/pages.py": "a bench asks the pages in its own process",
    "bench/serve_transformers.py": "what a bench compares with, on loopback as long as it lasts",
    "cli/agents.py": "numbers of a node on loopback, served by prometheus_client itself",
}
"""Every module that makes an application or listens -> the door that is fuzzed."""
UNDESCRIBED = {("GET", "/docs"), ("GET", "/openapi.json")}
"""Of a lab; they are driven with its pages."""
METHODS = {"get", "put", "post", "delete", "patch", "head", "options"}


@pytest.fixture(scope="module")
def fuzzed(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, tuple[set[Operation], set[Operation]]]]:
    """Of each door: its routes, and what is drawn."""
    folder = tmp_path_factory.mktemp("doors")
    with ExitStack() as ending:
        world = World()
        ending.callback(world.close)
        lab = make_api(world.lab)
        _, shown = pages_app(world, folder / "chronicle")
        model, said = model_door({})
        accounts = Accounts(folder)
        ending.callback(accounts.close)
        training = make_app(Door(ToyHands(), folder, accounts))
        witness, sworn = witness_door(folder / "witness")
        ending.callback(sworn.close)
        follower = operations(follower_door(world).routes)
        signed = operations(witness.routes)
        yield {
            "lab": (operations(lab.routes) - UNDESCRIBED, described_in(lab.openapi())),
            "model, pool": (operations(model.routes), described_in(said)),
            "training": (
                operations(training.routes),
                described_in(described.of_training(training.routes)),
            ),
            "pages": (shown, described_in(described.of_pages(shown - ENDLESS)) | ENDLESS),
            "follower": (follower, described_in(described.description(follower))),
            "witness": (signed, described_in(described.description(signed))),
            "node": ({BLOBS}, described_in(described.description([BLOBS]))),
        }


def test_every_route_of_every_door_is_drawn(
    fuzzed: dict[str, tuple[set[Operation], set[Operation]]],
) -> None:
    forgotten = {name: has - drawn for name, (has, drawn) in fuzzed.items()}
    assert not any(forgotten.values()), forgotten
    pages = fuzzed["pages"][0]
    assert UNDESCRIBED | {("POST", "/pages/login")} <= pages
    assert ("POST", "/add-checkpoint") in fuzzed["witness"][0]


def test_every_call_of_the_training_door_is_drawn_with_what_it_reads(
    fuzzed: dict[str, tuple[set[Operation], set[Operation]]],
) -> None:
    drawn = fuzzed["training"][1]
    assert {
        (each.method, calls.BASE + each.path.replace("*}", "}")) for each in calls.CALLS
    } <= drawn
    silent = {
        each.name
        for each in calls.CALLS
        if each.method in ("POST", "PUT") and each.standing != "refused"
    } - described.FORMS.keys()
    assert silent == {"dynamic_config", "telemetry", "publish_checkpoint"}, "these read no body"


def test_whoever_makes_an_application_or_listens_is_a_door_that_is_known(
    fuzzed: dict[str, tuple[set[Operation], set[Operation]]],
) -> None:
    found = {name for name, tree in sources() if any(map(_makes, ast.walk(tree)))}
    assert found == MADE_IN.keys(), "a door that nobody fuzzes, or one that is gone"
    assert fuzzed.keys() <= set(MADE_IN.values())


def test_every_route_that_the_source_spells_is_of_a_door_that_is_drawn(
    fuzzed: dict[str, tuple[set[Operation], set[Operation]]],
) -> None:
    drawn = {path for _, ways in fuzzed.values() for _, path in ways}
    spelt = {(name, path) for name, tree in sources() for path in _paths(name, tree)}
    assert len(spelt) > 50
    lost = {each for each in spelt if not any(path.endswith(each[1]) for path in drawn)}
    assert not lost, lost


@cache
def sources() -> list[tuple[str, ast.AST]]:
    """Modules that speak of routes or sockets."""
    texts = [(path, path.read_text()) for path in sorted(SOURCE.rglob("*.py"))]
    words = re.compile(r"Route\(|api\.\w+\(|_server\(|Starlette\(|FastAPI\(|HTTPServer\(")
    return [
        (path.relative_to(SOURCE).as_posix(), ast.parse(text))
        for path, text in texts
        if words.search(text)
    ]


def _makes(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in MAKERS


def _paths(module: str, tree: ast.AST) -> Iterator[str]:
    """Addresses of routes, as far as they are spelt by texts and names of the module."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and node.args):
            continue
        func = node.func
        is_route = isinstance(func, ast.Name) and func.id in ("Route", "Mount", "WebSocketRoute")
        is_way = isinstance(func, ast.Attribute) and func.attr in METHODS
        if is_way and getattr(getattr(func, "value", None), "id", "") not in (
            "api",
            "router",
            "app",
        ):
            continue
        path = _spelt(module, node.args[0]) if is_route or is_way else None
        if path is not None and path.startswith("/"):
            yield re.sub(r":\w+}", "}", path)


def _spelt(module: str, node: ast.AST) -> str | None:
    value: Any = None
    if isinstance(node, ast.Constant):
        value = node.value
    elif isinstance(node, ast.BinOp):
        left, right = _spelt(module, node.left), _spelt(module, node.right)
        value = None if left is None or right is None else left + right
    elif isinstance(node, ast.Name):
        value = getattr(_module(module), node.id, None)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        value = getattr(getattr(_module(module), node.value.id, None), node.attr, None)
    return value if isinstance(value, str) else None


def _module(name: str) -> Any:
    return import_module("archipel." + name.removesuffix(".py").replace("/", "."))


def test_a_route_that_the_description_leaves_out_is_noticed() -> None:
    def answer(request: object) -> None: ...

    routes = [Mount("/a", routes=[Route("/b/{c:path}", answer, methods=["GET", "POST"])])]
    assert operations(routes) == {("GET", "/a/b/{c}"), ("POST", "/a/b/{c}")}
    said = described.description([("GET", "/a/b/{c}")])
    assert operations(routes) - described_in(said) == {("POST", "/a/b/{c}")}


def test_routes_are_read_from_a_source_as_they_are_spelt() -> None:
    text = """
Route("/a/{b:path}", answer)
@api.get(RUN_PATH + "/c", summary="c")
@app.post(calls.BASE)
found.get("/no", 5)
Route(path, answer)
"""
    tree = ast.parse(re.sub(r"^@(.*)$", r"\1", text, flags=re.M))
    assert set(_paths("lab/view_routes.py", tree)) == {"/a/{b}", "/runs/{name}/c"}
    assert set(_paths("door/http/app.py", tree)) == {"/a/{b}", calls.BASE}
    made = ast.parse("import asyncio\nasyncio.start_server(serve, host, 0)\nStarlette(routes=[])")
    assert sum(map(_makes, ast.walk(made))) == 2
