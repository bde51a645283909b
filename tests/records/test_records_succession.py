"""What is said of a ledger's successors: nobody twice, nothing without bounds, and an agreement to one succession alone."""

from typing import Any

import pytest
from pydantic import ValidationError

from archipel.records.canonical import sha256_digest
from archipel.records.membership import Signed
from archipel.records.succession import (
    MAX_AGREEMENTS,
    MAX_ASKED,
    MAX_HEAD_CHARACTERS,
    MAX_SUCCESSORS,
    LabSucceeded,
    Successor,
    SuccessorsNamed,
    agreement_to,
)
from people import identity

LAB, NEXT, HEIR = (identity(word).did for word in ("lab", "next", "heir"))
ROOT = sha256_digest(b"root")
SIGNED = Signed(payload="{}", signature="0" * 128)


def named(dids: list[str], ask: list[str] | None = None) -> SuccessorsNamed:
    successors = tuple(Successor(did=did, address="https://heir") for did in dids)
    return SuccessorsNamed(lab=LAB, author=HEIR, seq=1, successors=successors, ask=tuple(ask or ()))


def succeeded(**said: Any) -> LabSucceeded:
    fields = {"lab": NEXT, "author": NEXT, "seq": 1, "predecessor": LAB, "size": 7, "root": ROOT}
    told = {"head": "h", "operators": (HEIR,), "reason": "gone", "agreements": ()}
    return LabSucceeded(**(fields | told | said))


def test_nobody_is_named_twice_nor_asked_twice() -> None:
    dids = [identity(f"heir-{number}").did for number in range(MAX_SUCCESSORS + 1)]
    asked = [f"https://n{number}" for number in range(MAX_ASKED + 1)]
    assert len(named(dids[:-1], asked[:-1]).successors) == MAX_SUCCESSORS
    for wrong in (
        ([NEXT, NEXT], []),
        ([NEXT], ["https://a", "https://a"]),
        (dids, []),
        ([], asked),
        ([], ["ftp://a"]),
        ([], ["https://a b"]),
        ([], ["https://" + "a" * 241]),
    ):
        with pytest.raises(ValidationError):
            named(*wrong)


def test_a_succession_takes_over_entries_for_somebody_and_within_bounds() -> None:
    most = {"head": "h" * MAX_HEAD_CHARACTERS, "agreements": (SIGNED,) * MAX_AGREEMENTS}
    assert succeeded(**most).size == 7
    for wrong in (
        {"size": 0},
        {"operators": ()},
        {"head": "h" * (MAX_HEAD_CHARACTERS + 1)},
        {"agreements": (SIGNED,) * (MAX_AGREEMENTS + 1)},
    ):
        with pytest.raises(ValidationError):
            succeeded(**wrong)


def test_an_agreement_says_whose_ledger_goes_on_from_where_and_by_whom() -> None:
    said = agreement_to(succeeded(), HEIR)
    assert said.model_dump() == {"predecessor": LAB, "size": 7, "root": ROOT, "successor": NEXT, "by": HEIR}  # fmt: skip
