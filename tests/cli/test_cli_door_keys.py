"""`archipel door key`: what an operator is shown, and what is shown once."""

import asyncio
import time
from pathlib import Path

import pytest

from archipel.cli.archipel import run
from archipel.door.accounts import Accounts
from archipel.door.keys import Tenant
from archipel.ledger.verification import lab_key
from archipel.records.grants import GrantGiven, PoolFunded, PoolRuled
from archipel.records.money import CreditsSettled
from cli_words import told
from granted import DAY_MS, DOOR, RULE
from live import live
from people import identity
from world import World

ADA = identity("ada")


def test_an_operator_makes_limits_revokes_and_sees_what_was_used(tmp_path: Path) -> None:
    here = ("--folder", tmp_path, "--json")
    code, made = told("door", "key", "make", "ada", "--scope", "train", "--days", 3, *here)
    assert (code, made["tenant"], made["scopes"]) == (0, "ada", ["train"])
    accounts = Accounts(tmp_path)
    ada = accounts.who(made["key"], 0)
    assert isinstance(ada, Tenant)
    _, limited = told(
        "door", "key", "limit", "ada", "--requests-per-second", "0.5", "--share", 2, *here
    )
    assert (limited["requests_milli"], limited["share"]) == (500, 2)
    _, limited = told("door", "key", "limit", "ada", "--requests-per-second", "none", *here)
    assert (limited["requests_milli"], limited["share"]) == (None, 2)
    accounts.used(ada, "train", 12, time.time_ns() // 1_000_000, "base")
    _, (row,) = told("door", "key", "usage", "--tenant", "ada", *here)
    assert (row["key"], row["tokens"], row["calls"], row["kind"]) == (ada.key, 12, 1, "train")
    assert told("door", "key", "usage", "--tenant", "bob", *here)[1] == []
    assert told("door", "key", "revoke", ada.key, *here)[0] == 0
    _, (listed,) = told("door", "key", "list", *here)
    assert listed["revoked_ms"] is not None
    assert made["key"] not in str(listed)
    assert not isinstance(accounts.who(made["key"], 0), Tenant)
    accounts.close()


@pytest.mark.parametrize(
    "words",
    [
        ("revoke", "0123456789ab"), ("limit", "bob"), ("make", "a b"), ("limit", "ada", "--share", "0"),
        ("limit", "ada", "--tokens-per-month", "1.5"), ("limit", "ada", "--tokens-per-minute", "nan"),
        ("make", "ada", "--scope", "all"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_one_sentence(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    told("door", "key", "make", "ada", "--folder", tmp_path, "--json")
    with pytest.raises(SystemExit) as ended:
        run(["door", "key", *words, "--folder", str(tmp_path)])
    assert ended.value.code in (1, 2)


def test_whoever_asks_of_a_door_that_has_no_keys_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["door", "key", "list", "--folder", str(tmp_path / "none")])
    assert ended.value.code == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_a_door_charges_a_tenant_s_grant_at_a_lab_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credits of the pool become the door's, hour by hour, and the tenant's key ends where the grant does."""
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path))
    ADA.save(tmp_path / "ada.key", b"", anew=True)
    DOOR.save(tmp_path / "door.key", b"", anew=True)
    here = ("--folder", tmp_path, "--json")
    own = ("--key", tmp_path / "door.key")
    monkeypatch.setattr("world.ORIGIN", lab_key(identity("lab").did).name)
    world = World(tmp_path / "store", ledger_on_disk=False)
    began_ms = time.time_ns() // 1_000_000
    made = told("door", "key", "make", "ada", *here)[1]["key"]
    permit = tmp_path / "permit.json"
    told(
        *("grants", "permit", DOOR.did, 1, "--lab-did", world.state.lab, "--out", permit),
        *("--key", tmp_path / "ada.key", "--json"),
    )
    world.speak(
        world.operator, CreditsSettled, account=ADA.did, direction="in", micro=9000, reference="r"
    )
    world.speak(ADA, PoolFunded, source="wallet", micro=9000)
    world.speak(world.operator, PoolRuled, **RULE)
    gift = {"to": ADA.did, "until_ms": world.now_ms + DAY_MS, "reason": "a class"}
    world.speak(world.operator, GrantGiven, micro=5000, **gift)
    assert told("door", "key", "tie", "ada", permit, "--price", "0.5", *own, *here)[0] == 0

    async def charged() -> list[dict[str, object]]:
        async with live(world) as url:
            return (
                await asyncio.to_thread(told, "door", "key", "charge", "--lab", url, *own, *here)
            )[1]

    accounts = Accounts(tmp_path)
    ada = accounts.who(made, began_ms)
    assert isinstance(ada, Tenant)
    assert accounts.may(ada, "train", 1, began_ms) is not None
    (row,) = world.await_(charged())
    assert (row["micro"], row["left_micro"]) == (0, 5000)
    assert accounts.may(ada, "train", 10_000, began_ms) is None
    accounts.used(ada, "train", 6000, began_ms)
    # two hours pass at the door
    accounts._file.execute("UPDATE usage SET hour_ms = hour_ms - 7200000")
    accounts._file.execute("UPDATE ties SET charged_to_ms = charged_to_ms - 7200000")
    accounts._file.commit()
    (row,) = world.await_(charged())
    assert (row["tokens"], row["micro"], row["left_micro"]) == (6000, 3000, 2000)
    (row,) = world.await_(charged())
    assert (row["tokens"], row["micro"], row["left_micro"]) == (0, 0, 2000)
    assert world.state.book[DOOR.did] == 3000
    assert accounts.may(ada, "train", 4002, began_ms) is not None
    assert accounts.may(ada, "train", 4000, began_ms) is None
    accounts.close()
    world.check_replay()
    world.close()
