"""What passes the door is counted under the route that took it, whoever asks for what."""

import re
from collections.abc import Iterator

import pytest

from door import Door
from world import World

_SAMPLE = re.compile(r'archipel_(\w+)_total\{method="(\w+)",route="([^"]+)"\} (\S+)')


@pytest.fixture
def door(world: World) -> Iterator[Door]:
    made = Door(world)
    yield made
    made.close()


def counted(door: Door, what: str) -> dict[tuple[str, str], float]:
    """(method, route) -> how much, as it stands in the exposition."""
    found = _SAMPLE.findall(door.get("/metrics").text)
    return {(method, route): float(value) for name, method, route, value in found if name == what}


def test_requests_and_their_bodies_count_by_declared_route_and_method(door: Door) -> None:
    for did in ("did:key:a", "did:key:b"):
        door.get(f"/nodes/{did}")
    said = door.say(b"x" * 100)
    assert counted(door, "requests")["GET", "/nodes/{did}"] == 2
    assert counted(door, "request_body_bytes")["POST", "/records"] == 100
    assert counted(door, "response_body_bytes")["POST", "/records"] == len(said.content)


def test_strangers_cannot_add_rows(door: Door) -> None:
    before = set(counted(door, "requests"))
    for number in range(5):
        door.get(f"/no/such/path/{number}")
        door.request(f"VERB{number}", "/healthz")
    grown = counted(door, "requests")
    assert set(grown) - before <= {("any", "none"), ("GET", "/metrics")}
    assert grown["any", "none"] == 10
