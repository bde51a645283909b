"""Of two contributions that are one, the later is refused, however it was written anew; honest ones are not."""

import numpy as np
import pytest

from archipel.training.exchange import CodecTerms, codec_of
from archipel.training.exchange.codec import Tensors
from archipel.training.merging.contributions import Contribution, Opened
from archipel.training.merging.copies import CopyTerms, Gains, alikeness, copies
from archipel.training.merging.merge import merge
from archipel.training.merging.outer import OuterTerms
from archipel.training.merging.terms import MergeTerms
from training.merging.merge_case import DENSE, SHAPES, contribution, opened, tensors

SPARSE = CodecTerms("top_k", 256)
TILED = {"a.weight": (64, 64), "b.bias": (500,)}


def sparse(index: int, values: Tensors, answered: int = 0) -> Opened:
    codec = codec_of(SPARSE)
    found = codec.decode(codec.encode(values), TILED)
    sent = Contribution(f"m{index}", index, b"", 1, 1, answered=answered)
    return Opened(sent, found.values, found.sent)


def times(factor: float, values: Tensors) -> dict[str, np.ndarray]:
    return {name: np.float32(factor) * each for name, each in values.items()}


def refused(everyone: list[Opened], gains: Gains | None = None) -> list[int]:
    found = copies(everyone, CopyTerms(), gains)
    return [at for at, why in enumerate(found) if why is not None]


def test_a_copy_is_refused_however_it_is_scaled_or_rounded() -> None:
    one = tensors(1)
    codec = codec_of(CodecTerms("int8"))
    rounded = codec.decode(codec.encode(one), SHAPES).values
    everyone = [opened(at, tensors(at)) for at in range(3)]
    assert refused(everyone) == []
    assert refused([*everyone, opened(3, times(0.3, one))]) == [3]
    assert refused([*everyone, opened(3, rounded)]) == [3]
    assert refused([*everyone, opened(3, times(-1, one))]) == []


def test_the_later_answer_is_the_copy_whatever_its_index() -> None:
    one = tensors(1)
    everyone = [opened(0, one, answered=5), opened(1, one, answered=3), opened(2, one, answered=4)]
    assert refused(everyone) == [0, 2]
    # One that is late was answered before those that are in time.
    late = opened(3, one, age=1, answered=9)
    assert refused([opened(0, one), late]) == [0]


def test_why_names_the_one_that_came_first() -> None:
    found = copies([opened(4, tensors(1)), opened(6, tensors(1), answered=1)], CopyTerms())
    assert found == [
        None,
        "it is 1.0000 alike to contribution 4 (age 0), which was answered before it",
    ]


def test_of_two_alike_the_copy_is_the_one_whose_own_text_gains_less() -> None:
    one = tensors(1)
    thief = opened(0, one)
    owner = opened(1, one, answered=1)
    others = [opened(at, tensors(at), answered=at) for at in (2, 3, 4)]
    everyone = [thief, owner, *others]
    # Text 1 is easy for everybody: by 50 for those who were not trained on it.
    easy = {0: 0, 1: 50, 2: 0, 3: 0, 4: 0}

    def gains(opened: Opened, whose: Contribution) -> int:
        learned = 1 if opened in (thief, owner) else opened.contribution.index
        return easy[whose.index] + (10 if whose.index == learned else 0)

    found = copies(everyone, CopyTerms(), gains)
    assert [why is not None for why in found] == [True, False, False, False, False]
    assert found[0] is not None
    assert found[0].endswith("contribution 1 (age 0), whose own text it makes likelier")

    def theirs(opened: Opened, whose: Contribution) -> int:
        learned = 0 if opened in (thief, owner) else opened.contribution.index
        return easy[whose.index] + (10 if whose.index == learned else 0)

    # Trained on the text of the earlier one: an easier text of its own does not make the later one the original.
    assert refused(everyone, gains=theirs) == [1]


def test_sparse_ones_are_alike_by_the_places_that_both_say() -> None:
    one, other = tensors(1, shapes=TILED), tensors(2, shapes=TILED)
    # Other values at the same places: a copy under another's scale.
    assert alikeness(sparse(0, one), sparse(1, times(7.0, one))) == 1.0
    flipped = alikeness(sparse(0, one), sparse(1, times(-1.0, one)))
    assert flipped == 1.0
    # The bias is said whole by everybody and shows nothing: of 4096 places 256 are said, a sixteenth of them twice.
    assert alikeness(sparse(0, one), sparse(1, other)) < 0.2
    assert refused([sparse(0, one), sparse(1, other, 1), sparse(2, times(2, one), 2)]) == [2]
    half = {"a.weight": one["a.weight"].copy(), "b.bias": one["b.bias"]}
    half["a.weight"][32:] = other["a.weight"][32:]
    assert 0.4 < alikeness(sparse(0, one), sparse(1, half)) < 0.6


def test_nothing_is_alike_to_nothing() -> None:
    zero = times(0.0, tensors(1))
    assert alikeness(opened(0, zero), opened(1, zero)) == 0.0


def test_a_merge_leaves_copies_out_and_says_so() -> None:
    terms = MergeTerms(DENSE, OuterTerms("sgd", 1.0), copies=CopyTerms())
    base = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    honest = [contribution(0, tensors(0)), contribution(1, tensors(1), answered=1)]
    liar = contribution(2, times(2.0, tensors(0)), answered=2)
    made = merge(base, {}, [liar, *honest], terms)
    assert [each.reason for each in made.verdicts] == [None, None, "copy"]
    assert made.verdicts[2].weight_micro == 0
    alone = merge(base, {}, honest, terms)
    assert all(np.array_equal(made.weights[name], alone.weights[name]) for name in base)
    unseen = merge(base, {}, [liar, *honest], MergeTerms(DENSE, OuterTerms("sgd", 1.0)))
    assert all(each.merged for each in unseen.verdicts)


def test_bounds_of_the_terms() -> None:
    for wrong in ({"cosine": 0.0}, {"overlap": 1.1}):
        with pytest.raises(ValueError, match="expected both in"):
            CopyTerms(**wrong)
