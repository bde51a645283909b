"""What the demo says of a killed node is read from the ledger, not remembered by the demo."""

from collections.abc import Iterator

import pytest

from archipel.demo.aftermath import (
    accepted_groups,
    orphans_of,
    overtaken_by,
    was_answered,
    weight_traffic,
)
from archipel.identity import Identity
from archipel.lab.entry import read_entry
from archipel.records.fields import BlobRef
from archipel.records.kinds.evaluate import EvaluateAnswer
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.kinds.update import UpdateAnswer
from archipel.records.statements import LeaseExpired, LeaseGranted, WorkAnswered
from world import PACE, World

LAB, DOOMED, FAST = (Identity.from_seed(bytes([n]) * 32).did for n in (1, 2, 3))
BLOB = BlobRef(digest="sha256:" + "0" * 64, size=10)
POLICY = "sha256:" + "1" * 64


def _granted(work: str, node: str, groups: tuple[int, ...]) -> LeaseGranted:
    spec = RolloutSpec(run="r", version=0, policy=POLICY, groups=groups, prompts=(BLOB,))
    return LeaseGranted(
        lab=LAB,
        author=LAB,
        seq=1,
        work=work,
        node=node,
        request_seq=1,
        deadline_ms=5000,
        price_micro=0,
        spec=spec,
    )


def _answered(work: str, node: str, answer: RolloutAnswer | UpdateAnswer | EvaluateAnswer):
    return WorkAnswered(lab=LAB, author=node, seq=1, work=work, answer=answer)


def _submitted(work: str, node: str) -> WorkAnswered:
    answer = RolloutAnswer(policy=POLICY, result=BLOB, num_tokens=1, busy_ms=1)
    return _answered(work, node, answer)


def _expired(work: str) -> LeaseExpired:
    return LeaseExpired(lab=LAB, author=LAB, seq=1, work=work, cause="deadline")


def test_a_killed_nodes_groups_are_followed_to_whoever_redid_them() -> None:
    entries = [
        (1000, _granted("r.1", DOOMED, (0, 1))),
        (1500, _granted("r.2", FAST, (2,))),
        (1600, _submitted("r.2", FAST)),
        (6000, _expired("r.1")),
        (6100, _granted("r.3", FAST, (0, 1, 3))),
        (7000, _submitted("r.3", FAST)),
    ]
    (orphan,) = orphans_of(DOOMED, entries)
    assert (orphan.work, orphan.groups, orphan.redone_by) == ("r.1", (0, 1), (FAST,))
    assert (orphan.silent_s, orphan.redone_s) == (5.0, 1.0)
    assert orphans_of(FAST, entries) == []
    assert {group: node for group, (_, node) in accepted_groups(entries).items()} == {
        0: FAST,
        1: FAST,
        2: FAST,
        3: FAST,
    }


def test_an_answer_that_came_before_the_kill_leaves_no_orphan() -> None:
    entries = [(0, _granted("r.1", DOOMED, (0, 1))), (900, _submitted("r.1", DOOMED))]
    assert orphans_of(DOOMED, entries) == []
    assert was_answered("r.1", entries)
    assert not was_answered("r.1", entries[:1])


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


@pytest.mark.parametrize("is_answered", [True, False], ids=["answered", "still on lease"])
def test_a_lease_that_a_second_copy_overtook_is_told_though_no_statement_ends_it(
    world: World, is_answered: bool
) -> None:
    floor = PACE["min_deadline_ms"]
    world.started(max_staleness=0, groups_per_update=4, trusted_deadline_ms=40 * floor)
    doomed, fast = world.provider("doomed"), world.provider("fast")
    doomed.prove(floor)
    fast.prove(1000)
    held = doomed.ask()
    while (granted := fast.ask()) is not None:
        fast.answer(granted)
    copy = fast.wait(2 * floor + 1)
    assert held is not None
    assert copy is not None
    assert copy.spec.groups == held.spec.groups
    if is_answered:
        fast.answer(copy)
    entries = [read_entry(data) for data in world.lab.log.entries()]
    history = [(entry.at_ms, entry.statement) for entry in entries]
    assert orphans_of(doomed.did, history) == []
    assert not was_answered(held.work, history)
    assert overtaken_by(held.work, history) == (fast.did if is_answered else None)
    assert overtaken_by(copy.work, history) is None


def test_work_that_nobody_redid_is_not_called_redone() -> None:
    entries = [
        (0, _granted("r.1", DOOMED, (0, 1))),
        (900, _expired("r.1")),
        (950, _granted("r.2", FAST, (0,))),
        (990, _submitted("r.2", FAST)),
    ]
    (orphan,) = orphans_of(DOOMED, entries)
    assert orphan.redone_s is None


def test_traffic_counts_deltas_and_anchors_apart() -> None:
    def published(version: int, delta: int | None, anchor: int | None) -> WorkAnswered:
        ref = lambda size: None if size is None else BlobRef(digest=POLICY, size=size)  # noqa: E731
        answer = UpdateAnswer(
            version=version,
            parent=None,
            policy=POLICY,
            manifest=BLOB,
            anchor=ref(anchor),
            delta=ref(delta),
            memory=None,
            prompts=(),
            metrics={"full_bytes": 1000},
        )
        return _answered(f"r.{version + 1}", FAST, answer)

    exam = EvaluateAnswer(version=2, policy=POLICY, report=BLOB, metrics={"full_bytes": 9999})
    traffic = weight_traffic(
        [
            (0, published(0, None, 800)),
            (1, published(1, 100, None)),
            (2, published(2, 200, 800)),
            (3, _answered("r.9", FAST, exam)),
        ]
    )
    assert (traffic.versions, traffic.full_bytes, traffic.anchors) == (2, 1000, 2)
    assert (traffic.mean_delta_bytes, traffic.mean_anchor_bytes) == (150.0, 800.0)
