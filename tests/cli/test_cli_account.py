"""`archipel account`, `run fund` and a budget, at a lab that runs: what is entered, shown, exported and proved."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from archipel.cli.archipel import command
from archipel.cli.doors import Mendable
from archipel.cli.run_budget import provide, spend
from archipel.identity import Identity
from archipel.ledger.verification import lab_key
from archipel.market.amounts import written
from archipel.market.journal import escrow
from archipel.market.settlement import COLUMNS
from live import live
from people import identity
from world import World

SPONSOR = identity("sponsor")


class Desk:
    """Commands to one lab, by its operator and a sponsor."""

    def __init__(self, world: World, home: Path) -> None:
        self.world, self.home = world, home
        (home / "lab").mkdir()
        self.sponsor_key = home / "sponsor.key"
        world.operator.save(home / "lab" / "operator.key", b"", anew=True)
        SPONSOR.save(self.sponsor_key, b"", anew=True)

    def does(self, deed: Callable[[str], Any]) -> Any:
        async def story() -> Any:
            async with live(self.world) as url:
                return await asyncio.to_thread(deed, url)

        return self.world.await_(story())

    def runs(self, *words: object) -> Result:
        told = [str(word) for word in words]
        return self.does(lambda url: CliRunner().invoke(command, [*told, "--lab", url]))

    def says(self, *words: object) -> str:
        ended = self.runs(*words)
        assert ended.exit_code == 0, f"{ended.exception} {ended.output}"
        return ended.output

    def refused(self, *words: object) -> str:
        """Why a command came to nothing."""
        ended = self.runs(*words)
        assert ended.exit_code
        return f"{ended.exception} {ended.output}"

    def holds(self, account: str) -> int:
        return int(self.world.state.book.get(account, 0))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path))
    monkeypatch.setattr("world.ORIGIN", lab_key(identity("lab").did).name)
    world = World(tmp_path / "store", ledger_on_disk=False)
    world.started()
    yield Desk(world, tmp_path)
    world.check_replay()
    world.close()


def test_a_sponsor_pays_in_once_funds_a_run_and_proves_every_movement(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    paid = ("account", "settle", "in", SPONSOR.did, "5", "--reference", "invoice 1", "--usd", "0.1")
    assert "1 settlement entered" in desk.says(*paid)
    assert "1 had been before" in desk.says(*paid)
    funded = desk.says("run", "fund", "run", "2.5", "--key", desk.sponsor_key)
    assert "2.500000 credits set aside for run run" in funded
    assert desk.holds(escrow("run")) == 2_500_000
    page = desk.says("run", "show", "run", "--rate", "0.02")
    assert "0.000000 paid or promised (0.000000 USD); 2.500000 left of 2.500000 set aside" in page

    shown = desk.says("account", "show", SPONSOR.did)
    assert "holds 2.500000 credits (0.05 USD)" in shown, "at the rate that the ledger says last"
    assert "set aside for run: 2.500000" in shown
    told = json.loads(desk.says("account", "statement", SPONSOR.did, "--verify", "--json"))
    assert [each["micro"] for each in told["movements"]] == [5_000_000, -2_500_000]
    assert [each["about"] for each in told["movements"]] == ["invoice 1", "run"]
    assert (
        told["balances_micro"][SPONSOR.did] == told["movements"][-1]["balance_micro"] == 2_500_000
    )
    assert "the lab says the same of the wallet: 2.500000 credits" in told["checked"]

    async def lied(url: str, did: str) -> tuple[int, int]:
        return 7, desk.world.state.size

    monkeypatch.setattr("archipel.cli.account_statement._said", lied)
    assert "its ledger comes to 2.5" in desk.refused(
        "account", "statement", SPONSOR.did, "--verify"
    )


def test_a_providers_statement_names_the_work_that_each_pay_is_for_and_the_lab_cannot_differ(
    desk: Desk,
) -> None:
    provider = desk.world.provider("one")
    works = [provider.prove().work for _ in range(2)]
    rows = desk.says("account", "statement", provider.did, "--csv").splitlines()
    assert [row.split(",")[3] for row in rows[1:]] == works
    assert rows[-1].endswith(f",{written(desk.holds(provider.did))},")


def test_who_is_owed_is_exported_paid_entered_and_owed_nothing_more_however_often(
    desk: Desk,
) -> None:
    provider, out = desk.world.provider("one"), desk.home / "payouts.csv"
    provider.prove()
    desk.says("account", "settle", "in", SPONSOR.did, "5", "--reference", "invoice 1")
    assert "1 provider, 0.001000 credits (0.00 USD)" in desk.says(
        "account", "settle", "--export", out, "--rate", "0.02"
    )
    for again in ("1 settlement entered", "0 settlements entered, 1 had been before"):
        assert again in desk.says("account", "settle", "--csv", out)
        assert desk.holds(provider.did) == 0
    assert SPONSOR.did not in out.read_text(), "what a sponsor paid in is not owed as pay"
    assert "0 providers" in desk.says("account", "settle", "--export", out)


def test_a_file_with_a_bad_row_enters_nothing_and_names_it(desk: Desk) -> None:
    rows, size = desk.home / "rows.csv", desk.world.state.size
    rows.write_text(f"{','.join(COLUMNS)}\n{SPONSOR.did},in,1,a,\n{SPONSOR.did},in,1,a,\n")
    assert "line 3: reference 'a' stands in line 2" in desk.refused(
        "account", "settle", "--csv", rows
    )
    assert desk.world.state.size == size
    rows.write_text(f"{','.join(COLUMNS)}\n{SPONSOR.did},in,1,a,\n{SPONSOR.did},out,2,b,\n")
    told = desk.refused("account", "settle", "--csv", rows)
    assert "line 3: insufficient-credits" in told
    assert desk.holds(SPONSOR.did) == 1_000_000


def test_what_is_no_settlement_is_not_sent(desk: Desk) -> None:
    size, one = desk.world.state.size, ("in", SPONSOR.did)
    for words in (
        (),
        (*one, "5"),
        (*one, "-5", "--reference", "x"),
        (*one, "1e9", "--reference", "x"),
        (*one, "0", "--reference", "x"),
        (*one, "5", "--reference", "=1+1"),
        ("out", SPONSOR.did, "5", "--reference", "x", "--export", "-"),
    ):
        assert CliRunner().invoke(command, ["account", "settle", *words]).exit_code
    assert desk.world.state.size == size


def test_a_budget_is_in_the_wallet_before_a_run_opens_or_the_run_does_not(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = SimpleNamespace(run=SimpleNamespace(name="run"), market=object())
    with pytest.raises(Mendable, match="lacks 2\\.000000 credits"):
        desk.does(lambda url: provide(url, None, recipe, 2_000_000, False))
    desk.does(lambda url: provide(url, None, recipe, 2_000_000, True))
    assert desk.holds(desk.world.operator.did) == 2_000_000
    desk.does(lambda url: provide(url, None, recipe, 2_000_000, True))
    assert desk.holds(desk.world.operator.did) == 2_000_000, "what is there need not be paid in"
    desk.does(lambda url: provide(url, None, recipe, None, False))
    assert "archipel run fund run CREDITS" in capsys.readouterr().err
    desk.does(lambda url: spend(url, None, "run", 2_000_000))
    assert desk.holds(escrow("run")) == 2_000_000


@pytest.mark.slow
def test_every_account_is_shown_and_they_come_to_nothing_together(desk: Desk) -> None:
    desk.world.provider("one").prove()
    desk.says("account", "settle", "in", SPONSOR.did, "5", "--reference", "invoice 1")
    accounts = json.loads(desk.says("account", "show", "--all", "--json"))["accounts"]
    assert sum(accounts.values()) == 0
    assert accounts["outside"] == -5_000_000
    assert "holds -5.000000 credits" in desk.says("account", "show", "outside")
    assert "expected" in desk.refused("account", "show", "nobody")
    assert f"{Identity.load(desk.sponsor_key).did}" in desk.says(
        "account", "statement", SPONSOR.did
    )
