"""`archipel door key`: what an operator is shown, and what is shown once."""

from pathlib import Path

import pytest

from archipel.cli.archipel import run
from archipel.door.accounts import Accounts
from archipel.door.keys import Tenant
from cli_words import told


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
    import time

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
