"""Which runs of a lab a node works for: by its operator's rules, and by the pledge that a stint is for."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from archipel.node.exchange import LabUnreachable
from archipel.node.labs_file import Served
from archipel.node.pledged import Pledged
from archipel.node.seen_runs import MAX_RUNS_SEEN, SeenRuns

LAB = "http://lab"
ANY, MATH = Served(at=LAB), Served(at=LAB, runs=("math-*",))
OWN = Pledged("own", lab="did:lab", share=1)
CURE = Pledged("cure", purpose="medicine", share=1)


def shown(**phases: str) -> list[Any]:
    """Runs by name; what is after two underscores is what they are for."""
    found = []
    for name, phase in phases.items():
        run, _, purpose = name.partition("__")
        purposes = (purpose,) if purpose else None
        found.append(SimpleNamespace(run=run.replace("_", "-"), purposes=purposes, phase=phase))
    return found


def seen(*pledges: Pledged, **phases: str) -> SeenRuns:
    made = SeenRuns()
    made.pledges = pledges
    made.show(LAB, shown(**phases))
    return made


def test_a_lab_is_asked_by_run_only_where_a_rule_or_a_purpose_says_so() -> None:
    made = SeenRuns()
    assert [made.asks(each) for each in (ANY, MATH)] == [False, True]
    assert [made.is_blind(LAB, each) for each in (ANY, MATH)] == [False, True]
    made.pledges = (OWN,)
    assert not made.asks(ANY)
    made.pledges = (OWN, CURE)
    assert made.asks(ANY)
    assert made.is_blind(LAB, ANY)
    made.show(LAB, [])
    assert not made.is_blind(LAB, ANY)
    made.forget(LAB)
    assert made.is_blind(LAB, ANY)
    made.forget("another")


def test_open_runs_that_the_rules_take_are_asked_for_and_a_purpose_narrows_them() -> None:
    made = seen(
        OWN, CURE, math_1="learning", math_2__medicine="opening", chess__medicine="learning", math_3="complete", math_4="stopped"
    )  # fmt: skip
    for served, floor, runs in (
        (ANY, None, None),
        (ANY, "own", None),
        (ANY, "unknown", None),
        (ANY, "cure", ("math-2", "chess")),
        (MATH, None, ("math-1", "math-2")),
        (MATH, "own", ("math-1", "math-2")),
        (MATH, "cure", ("math-2",)),
        (Served(at=LAB, runs=("go",)), None, ()),
    ):
        assert made.allowed(LAB, served, floor) == runs, (served, floor)
    assert made.allowed("another", MATH, None) == ()
    many = seen(**{f"r{number}": "learning" for number in range(MAX_RUNS_SEEN + 3)})
    some = many.allowed(LAB, Served(at=LAB, runs=("r*",)), None)
    assert some is not None
    assert len(some) == MAX_RUNS_SEEN


def test_work_counts_for_pledges_to_the_lab_and_to_what_its_run_is_for() -> None:
    made = seen(OWN, CURE, math="learning", cure__medicine="learning")
    for run, lab, names in (
        ("math", "did:lab", ["own"]),
        ("cure", "did:lab", ["own", "cure"]),
        ("cure", "did:other", ["cure"]),
        ("unknown", "did:lab", ["own"]),
        ("math", "", []),
    ):
        assert made.counts(LAB, run, lab) == names
    assert made.serves(LAB, ANY, "did:lab") == ["own", "cure"]
    assert made.serves(LAB, Served(at=LAB, runs=("math",)), "did:lab") == ["own"]
    assert made.serves("another", ANY, "did:other") == []


def test_a_lab_that_does_not_answer_shows_what_it_showed_before() -> None:
    made = seen(math="learning")

    async def away(*asked: object) -> None:
        raise LabUnreachable("away")

    asyncio.run(made.look(LAB, cast("Any", SimpleNamespace(read_all=away))))
    assert made.allowed(LAB, MATH, None) == ()
    assert made.allowed(LAB, Served(at=LAB, runs=("math",)), None) == ("math",)

    async def here(kind: object, path: str) -> list[Any]:
        assert path == "/runs"
        return shown(math_9="learning")

    asyncio.run(made.look(LAB, cast("Any", SimpleNamespace(read_all=here))))
    assert made.allowed(LAB, MATH, None) == ("math-9",)
