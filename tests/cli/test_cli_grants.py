"""`archipel grants` at a lab that runs: a pool is filled and ruled, a person is attested, granted and shown."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from archipel.cli.archipel import command
from archipel.cli.grants_signed import signed_file
from archipel.ledger.verification import lab_key
from archipel.records.grants import GrantCharged
from granted import DOOR, VERIFIER
from live import live
from people import identity
from world import World

ADA, LAB = identity("ada"), identity("lab").did


class Desk:
    """Commands of everybody to one lab."""

    def __init__(self, world: World, home: Path) -> None:
        self.world, self.home = world, home
        (home / "lab").mkdir()
        world.operator.save(home / "lab" / "operator.key", b"", anew=True)
        for name, who in (("ada", ADA), ("verifier", VERIFIER)):
            who.save(self.key(name), b"", anew=True)

    def key(self, name: str) -> Path:
        return self.home / f"{name}.key"

    def says(self, url: str | None, *words: object) -> Any:
        """Its JSON. url: of the lab; None: it needs none."""
        at = () if url is None else ("--lab", url)
        result = CliRunner().invoke(command, [*map(str, words), "--json", *at])
        assert result.exit_code == 0, f"{result.exception} {result.output}"
        return json.loads(result.output)

    def does(self, deed: Callable[[str], Any]) -> Any:
        async def story() -> Any:
            async with live(self.world) as url:
                return await asyncio.to_thread(deed, url)

        return self.world.await_(story())


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path))
    monkeypatch.setattr("world.ORIGIN", lab_key(identity("lab").did).name)
    world = World(tmp_path / "store", ledger_on_disk=False)
    yield Desk(world, tmp_path)
    world.check_replay()
    world.close()


def test_a_person_is_attested_granted_and_charged_and_everybody_can_see_it(desk: Desk) -> None:
    def deed(url: str) -> None:
        operator, own = desk.world.operator.did, desk.key("ada")
        desk.says(url, "account", "settle", "in", operator, "10", "--reference", "gift")
        by_operator = ("--key", desk.home / "lab" / "operator.key")
        assert desk.says(url, "grants", "fund", "10", *by_operator)["micro"] == 10_000_000
        ruling = ("--person", 1, "--most", 5, "--verifier-month", 3, "--month", 4)
        desk.says(url, "grants", "rule", "--verifier", VERIFIER.did, "--door", DOOR.did, *ruling)
        out, permit = desk.home / "attestation.json", desk.home / "permit.json"
        attesting = ("grants", "attest", ADA.did, "--lab-did", LAB, "--out", out)
        attesting = (*attesting, "--key", desk.key("verifier"))
        first, again = (
            desk.says(None, *attesting, "--person", name) for name in ("Quillwort", "QUILLWORT ")
        )
        assert first["person"] == again["person"]
        assert "quillwort" not in out.read_text().lower()
        asked = desk.says(url, "grants", "request", out, "--key", own)
        assert asked["left_micro"] == 1_000_000
        desk.says(url, "grants", "give", ADA.did, "2", "--reason", "a class")
        permitting = ("grants", "permit", DOOR.did, 2, "--lab-did", LAB, "--out", permit)
        desk.says(None, *permitting, "--key", own)

    desk.does(deed)
    facts = {"micro": 500_000, "num_tokens": 7, "since_ms": 1, "until_ms": 2}
    signed = signed_file(desk.home / "permit.json")
    desk.world.speak(DOOR, GrantCharged, permit=signed, **facts)

    def look(url: str) -> None:
        shown = desk.says(url, "grants", "show", "--grantee", ADA.did)
        assert shown["grantees"][0]["left_micro"] == 2_500_000
        assert (shown["pool_micro"], shown["given_micro"]) == (7_000_000, 3_000_000)
        ending = ("grants", "end", ADA.did, "--reason", "enough", "--key", desk.key("ada"))
        desk.says(url, *ending)
        assert desk.says(url, "account", "show", "pool")["balance_micro"] == 9_500_000
        key = str(desk.key("ada"))
        words = ["grants", "pledge", "0", "--key", key, "--lab", url]
        assert "has pledged nothing" in str(CliRunner().invoke(command, words).exception)

    desk.does(look)


def test_a_file_that_is_no_attestation_is_refused(desk: Desk) -> None:
    place = desk.home / "odd.json"
    for data in (b"", b"{}", b'{"payload":"x","signature":"y"}', b"x" * 5000):
        place.write_bytes(data)
        ended = CliRunner().invoke(command, ["grants", "request", str(place)])
        assert ended.exit_code
        assert "Traceback" not in ended.output
