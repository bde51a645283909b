"""The API's description of itself: every refusal is named, every page is the lab's own."""

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from archipel.lab import refusals
from archipel.lab.description import MEANING, every_refusal
from archipel.lab.docs_page import docs_page
from door import PROBLEM_MEDIA_TYPE, Door
from world import World


@pytest.fixture
def disk_world(quick_folder: Path) -> Iterator[World]:
    made = World(quick_folder)
    yield made
    made.close()


@pytest.fixture
def door(disk_world: World) -> Iterator[Door]:
    made = Door(disk_world)
    yield made
    made.close()


def test_every_refusal_is_named_where_statements_come_in(door: Door) -> None:
    answers = door.get("/openapi.json").json()["paths"]["/records"]["post"]["responses"]
    for kind in set(every_refusal()) - {refusals.NoSuchRange, refusals.NoLanding}:  # of blobs alone
        assert kind.problem in answers[str(kind.status)]["description"]
        assert set(answers[str(kind.status)]["content"]) == {PROBLEM_MEDIA_TYPE}
    assert refusals.WrongShape in every_refusal(), "also those of a refusal's own kinds"
    assert {kind.status for kind in every_refusal()} <= MEANING.keys()


def test_every_operation_names_how_it_says_no(door: Door) -> None:
    paths = door.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            answers = operation["responses"]
            assert "Allow" in answers["405"]["headers"], (method, path)
            assert ("404" in answers) == ("{" in path or method == "post")
    assert set(paths["/blobs/{digest}"]["put"]["responses"]) == {
        *("201", "400", "401", "403", "404", "405", "409", "413", "422", "429", "503", "507")
    }
    assert set(paths["/ledger/head"]["get"]["responses"]["200"]["content"]) == {"text/plain"}


def test_what_is_refused_is_refused_as_described(door: Door, disk_world: World) -> None:
    paths = door.get("/openapi.json").json()["paths"]
    disk_world.open_run()
    tried = [
        ("get", "/runs/{name}", door.get("/runs/none")),
        ("get", "/nodes", door.get("/nodes?limit=0")),
        ("post", "/records", door.say(b"no record")),
        ("post", "/leases", door.ask(b"{}")),
        ("get", "/blobs/{digest}", door.get("/blobs/nothing")),
        (
            "put",
            "/blobs/{digest}",
            door.request("PUT", "/blobs/x", headers={"Archipel-Offer": "!"}),
        ),
        ("get", "/nodes", door.request("PATCH", "/nodes")),
    ]
    for method, path, answer in tried:
        described = paths[path][method]["responses"][str(answer.status_code)]
        assert answer.headers["content-type"] == PROBLEM_MEDIA_TYPE
        assert answer.json()["type"].rsplit("/", 1)[1] in described["description"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/blobs/sha256:0", "GET, HEAD, PUT"), ("/runs", "GET"), ("/records", "POST")],
)
def test_a_wrong_method_is_told_all_that_the_path_allows(
    door: Door, path: str, allowed: str
) -> None:
    answer = door.request("DELETE", path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_the_page_for_people_needs_nobody_else(door: Door) -> None:
    answer = door.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert re.findall(r"(?:src|href)=\"([^\"]*)\"", answer.text) == ["openapi.json"]
    assert "<script" not in answer.text
    (style,) = re.findall("<style>(.*)</style>", answer.text)
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{allowed}'")
    for words in ("PUT /blobs/{digest}", "too-many-requests", "long poll"):
        assert words in answer.text
    assert door.get("/redoc").status_code == 404


def test_nothing_in_a_description_becomes_markup() -> None:
    bad = "<img src=x>"
    operation = {
        "summary": bad,
        "parameters": [{"name": bad, "in": bad, "schema": {"type": bad}}],
        "responses": {"200": {"description": bad}},
    }
    info = {"title": bad, "version": bad, "summary": bad}
    assert "<img" not in docs_page({"info": info, "paths": {f"/{bad}": {"get": operation}}})
