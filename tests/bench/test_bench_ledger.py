"""The ledger benchmark appends what was signed, keeps each step, and says what it could not measure."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from archipel.bench import ledger
from archipel.bench.ledger import Bench, Plan
from archipel.bench.ledger_append import WAYS, append, crowd_of
from archipel.bench.ledger_growth import NotVerified, copied, proofs, verified
from archipel.bench.ledger_report import draw, table, to_json
from archipel.bench.ledger_server import NoServer
from archipel.cli.bench_ledger import command
from archipel.lab.entry import read_entry
from archipel.ledger.location import read_log
from archipel.ledger.verification import lab_key

PLAN = Plan(entries=(40,), records=12, seeds=(0, 1), proofs=5, storages=("sqlite",))


@pytest.mark.parametrize("way", WAYS)
def test_every_signed_record_is_in_the_ledger_once_and_in_order(way: str, tmp_path: Path) -> None:
    crowd = crowd_of(12)
    place = str(tmp_path / "ledger.sqlite")
    assert append(crowd, way, place).per_s > 0
    log = read_log(place, lab_key(crowd.identity.did))
    try:
        assert [read_entry(data).envelope.to_json() for data in log.entries()] == crowd.said
    finally:
        log.close()


@pytest.fixture
def verifying(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes that were verified, without the command's own process."""
    sizes: list[int] = []

    def stand_in(location: str, size: int) -> dict[str, Any]:
        sizes.append(size)
        return {"entries": size, "wall_s": 1.0, "cpu_s": 0.5, "per_s": float(size)}

    monkeypatch.setattr(ledger, "verified", stand_in)
    return sizes


@pytest.mark.slow
def test_a_measurement_that_is_begun_again_goes_on(verifying: list[int], tmp_path: Path) -> None:
    said: list[str] = []
    Bench(PLAN, tmp_path, said.append).measure()
    assert len(verifying) == 1
    again = Bench(replace(PLAN, entries=(40, 48)), tmp_path, said.append)
    again.measure()
    assert len(verifying) == 2, "the larger one alone"
    rows = again.rows()
    sizes = sorted(row["entries"] for row in rows if row["kind"] == "proofs")
    assert [40 <= sizes[0] < 48 <= sizes[1] < 60, len(sizes)] == [True, 2]
    assert {row["way"] for row in rows if row["kind"] == "append"} == set(WAYS)
    assert not (tmp_path / "scratch").exists()
    told = to_json(rows, ["PostgreSQL: none"])
    assert {each["way"]: each["flows"] for each in told["appends"]} == dict.fromkeys(WAYS, 2)
    assert "entries verified on sqlite: 1.0 s" in table(rows, [])
    draw(rows, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 0


def test_without_a_server_the_rest_is_measured_and_that_is_said(
    verifying: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_server(*, durable: bool) -> Any:
        raise NoServer("none here")

    monkeypatch.setattr(ledger, "postgres_server", no_server)
    plan = ["--records", "16", "--entries", "40", "--proofs", "2", "--seeds", "1", "--json"]
    found = CliRunner().invoke(command, [*plan, "--out", str(tmp_path)], catch_exceptions=False)
    shown = json.loads(found.stdout)
    assert shown["not_measured"] == ["PostgreSQL: none here"]
    assert {each["storage"] for each in shown["appends"]} == {"sqlite"}


@pytest.mark.slow
def test_a_grown_ledger_is_verified_by_the_command_on_both_storages(tmp_path: Path) -> None:
    from archipel.bench.lab_filler import grown
    from archipel.bench.ledger_server import postgres_server

    home = tmp_path / "lab"
    assert list(grown(home, (60,), 5)) == [60]
    assert verified(str(home / "ledger.sqlite"), 60)["entries"] == 60
    with pytest.raises(NotVerified, match="60 entries were verified, expected 61"):
        verified(str(home / "ledger.sqlite"), 61)
    assert proofs(home, 4, 0, lambda _: None)["inclusion_bytes"]["max"] == 6 * 32
    try:
        with postgres_server(durable=False) as server:
            assert verified(copied(home, server, "grown", 60), 60)["entries"] == 60
    except NoServer as error:
        pytest.skip(str(error))
