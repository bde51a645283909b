"""A node turns to another lab only by what it holds: whom its lab named while it was alive, and charters of its runs."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from archipel.identity import Identity
from archipel.node.client import LabClient
from archipel.node.patience import NodeFailed
from archipel.node.sealed import Founding, NotBelieved, founding_of, opening_of, publication_of
from archipel.node.settings import NodeSettings
from archipel.node.standing import Standing
from archipel.node.succession import Known, follows, known_by, with_charters
from archipel.node.successors import FILE, Successors
from archipel.records.documents import KeyFacts, LabFacts
from archipel.records.recipe_charter import CharterSection, charter_terms
from archipel.records.statements import RunOpened
from archipel.records.succession import Successor, SuccessorsNamed
from people import envelope, identity
from specimens import SMALL
from succeeding import NEXT, STEWARD, THIRD, agreement, succession

LAB, OPERATOR, HEIR = identity("lab"), identity("operator"), identity("heir")
FOUNDING = Founding(LAB.did, frozenset({OPERATOR.did}))
TOLD = [b"one", b"two", b"three"]


def sealed(signer: Identity, name: str, **changed: Any) -> str:
    said = SMALL[name].model_copy(update={"author": signer.did} | changed)
    return envelope(signer, said).decode()


def facts(*entries: Any, lab: Identity = NEXT, **other: Any) -> LabFacts:
    """What the newest of these successors says of itself."""
    return LabFacts(
        lab=lab.did,
        software="",
        operators=(),
        ledger_key="",
        ledger_size=1,
        founding=sealed(LAB, "lab.opened", operators=(OPERATOR.did,)),
        successions=tuple(each.envelope.to_json().decode() for each in entries),
        **other,
    )


def known(*named: Identity, chartered: tuple[Identity, ...] = ()) -> Known:
    return Known(
        FOUNDING,
        tuple(Successor(did=each.did, address="http://n") for each in named),
        tuple(Successor(did=each.did) for each in chartered),
    )


def test_a_successor_that_the_lab_or_a_charter_named_is_followed() -> None:
    own = succession(TOLD, LAB)
    for held in (known(NEXT), known(chartered=(NEXT,))):
        founding = follows(facts(own), held)
        assert (founding.lab, founding.operators) == (NEXT.did, {STEWARD.did})
        assert founding.labs == {LAB.did, NEXT.did}
    agreed = succession(TOLD, LAB, agreement(TOLD, HEIR, LAB))
    assert follows(facts(agreed), known(HEIR)).lab == NEXT.did


def test_nobody_is_followed_for_saying_so() -> None:
    own, third = succession(TOLD, LAB), succession(TOLD, LAB, successor=THIRD)
    forged = succession(TOLD, LAB, agreement(TOLD, HEIR, LAB, size=2))
    elsewhere = succession(TOLD, HEIR)
    for told, held, why in (
        (facts(own), known(), "nobody who may say so"),
        (facts(own), known(HEIR), "who may say so"),
        (facts(third, lab=THIRD), known(NEXT), "who may say so"),
        (facts(forged), known(HEIR), "agreements.0"),
        (facts(succession(TOLD, LAB, root="sha256:" + "0" * 64)), known(NEXT), "head"),
        (facts(elsewhere), known(NEXT), "the lab was"),
        (facts(lab=LAB), known(NEXT), "does not continue"),
        (facts(own), Known(Founding(THIRD.did, frozenset())), "does not continue"),
        (facts(own), Known(Founding(LAB.did, frozenset({HEIR.did}))), "does not continue"),
    ):
        with pytest.raises(NotBelieved, match=why):
            follows(told, held)


def test_whom_the_first_lab_named_says_nothing_of_the_second_ones_successor() -> None:
    first = succession(TOLD, LAB)
    told = [*TOLD, first.to_bytes()]
    second = succession(told, NEXT, successor=THIRD)
    shown = facts(first, second, lab=THIRD)
    with pytest.raises(NotBelieved, match="who may say so"):
        follows(shown, known(NEXT, THIRD))
    assert follows(shown, known(NEXT, chartered=(THIRD,))).lab == THIRD.did
    turned = Known(follows(facts(first), known(NEXT)), (Successor(did=THIRD.did),))
    assert follows(shown, turned).lab == THIRD.did, "who met the second lab knows whom it names"


def test_only_an_operator_of_the_lab_names_successors() -> None:
    said = SMALL["successors.named"]
    assert isinstance(said, SuccessorsNamed)
    by_lab = {"lab": LAB, "successors": sealed(OPERATOR, "successors.named")}
    assert known_by(facts(**by_lab), FOUNDING) == Known(FOUNDING, said.successors, ask=said.ask)
    assert known_by(facts(lab=LAB), FOUNDING) == Known(FOUNDING)
    for lie in (
        sealed(HEIR, "successors.named"),
        sealed(OPERATOR, "successors.named", lab=HEIR.did),
        sealed(OPERATOR, "run.stopped"),
    ):
        with pytest.raises(NotBelieved):
            known_by(facts(lab=LAB, successors=lie), FOUNDING)


def test_what_the_first_lab_opened_and_published_holds_at_its_successor_and_no_other() -> None:
    founding = founding_of(facts(succession(TOLD, LAB)))
    opening = sealed(OPERATOR, "run.opened")
    opened = opening_of(opening, founding, "run")
    made = {"work": "run.2", "lab": NEXT.did}
    version = sealed(identity("learner"), "work.answered (update)", **made)
    opened = opened.model_copy(update={"trusted": (identity("learner").did,)})
    assert publication_of(version, opened, founding.labs)
    with pytest.raises(NotBelieved, match="none of"):
        publication_of(version, opened)
    for signer in (STEWARD, HEIR):  # an operator of the other time, and of none
        with pytest.raises(NotBelieved, match="no operator"):
            opening_of(sealed(signer, "run.opened"), founding, "run")
    opening_of(sealed(STEWARD, "run.opened", lab=NEXT.did), founding, "run")


class Runs:
    """Those that an agent works for."""

    def __init__(self, *opened: RunOpened) -> None:
        self.opened = list(opened)


def chartered(address: str) -> RunOpened:
    opened = SMALL["run.opened"]
    assert isinstance(opened, RunOpened)
    charter = charter_terms(CharterSection(successors={HEIR.did: address}))
    pace = opened.pace.model_copy(update={"charter": charter})
    return opened.model_copy(update={"pace": pace})


def test_charters_say_where_to_look() -> None:
    held = with_charters(known(NEXT), [chartered("https://heir"), chartered("https://heir")])
    assert held.addresses == ("http://n", "https://heir")
    assert [each.did for each in held.chartered] == [HEIR.did]


def test_a_node_that_starts_anew_knows_whom_to_follow_and_where_it_turned_to(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        url = "http://127.0.0.1:1"
        settings = NodeSettings(lab_url=url, home=tmp_path)
        client = LabClient(url, identity("node"))
        first = Successors(client, settings, Runs(chartered("https://heir")))  # type: ignore[arg-type]
        client.founding = FOUNDING
        first.met(facts(lab=LAB, successors=sealed(OPERATOR, "successors.named")))
        again = Successors(LabClient(url, identity("node")), settings, Runs())  # type: ignore[arg-type]
        again.begin(Standing())
        assert again._known == first._known
        assert not again.has_turned
        await again.close()
        founding = follows(facts(succession(TOLD, LAB)), known(NEXT))
        client.turn("http://127.0.0.1:2", founding, KeyFacts(did="", last_seq=7, now_ms=1), 0)
        first._keep(Known(founding), "http://127.0.0.1:2")
        later = Successors(LabClient(url, identity("node")), settings, Runs())  # type: ignore[arg-type]
        later.begin(Standing())
        assert later.has_turned
        assert str(later.client.addresses) == "http://127.0.0.1:2"
        assert later._known is not None
        assert later._known.founding == founding
        await later.close()
        (tmp_path / FILE).write_bytes(b"{")
        with pytest.raises(NodeFailed, match=f"delete .*{FILE}"):
            later.begin(Standing())

    asyncio.run(story())


def test_somebody_whom_nobody_named_is_judged_by_the_ledger_of_the_key_that_it_said(
    tmp_path: Path,
) -> None:
    """What an address says first and what it shows then may be of two keys."""
    asked: list[Any] = []

    def judge(*said: Any) -> str | None:
        asked.append(said)
        return "not here" if len(asked) == 1 else None

    opened = chartered("https://heir")

    async def story() -> None:
        settings = NodeSettings(lab_url="http://127.0.0.1:1", home=tmp_path, judge=judge)
        client = LabClient(settings.lab_url, identity("node"))
        looking = Successors(client, settings, Runs(opened))  # type: ignore[arg-type]
        told = facts(succession(TOLD, LAB))
        with pytest.raises(NotBelieved, match="not here"):
            await looking._believed("http://a", told, known())
        with pytest.raises(NotBelieved, match="may say so"):  # not again so soon
            await looking._believed("http://a", told, known())
        assert (await looking._believed("http://b", told, known())).lab == NEXT.did
        await client.close()

    asyncio.run(story())
    assert asked == [(url, LAB.did, NEXT.did, (opened,)) for url in ("http://a", "http://b")]


@pytest.mark.parametrize(
    ("lab", "num_asked"), [("http://192.0.2.1:1", 0), ("http://127.0.0.1:1", 1)]
)
def test_a_lab_elsewhere_sends_nobody_around_on_its_own_machine(
    tmp_path: Path, lab: str, num_asked: int
) -> None:
    """Whatever serves there would get a request that its owner never made; a lab on this machine may name another one here."""
    heard: list[int] = []

    async def story() -> None:
        async def hear(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.append(1)
            writer.close()

        async with await asyncio.start_server(hear, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            client = LabClient(lab, identity("node"))
            settings = NodeSettings(lab_url=lab, home=tmp_path)
            looking = Successors(client, settings, Runs())  # type: ignore[arg-type]
            named = Successor(did=NEXT.did, address=f"http://127.0.0.1:{port}")
            looking._known = Known(FOUNDING, (named,), ask=("http://169.254.169.254/latest",))
            assert not await looking.look()
            await client.close()

    asyncio.run(story())
    assert len(heard) == num_asked
