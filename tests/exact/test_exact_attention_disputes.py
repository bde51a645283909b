"""A dispute inside attention ends at one small step of it, for less than a kilobyte, whatever the step."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch

from archipel.engine.exact.attention_working import Attention, Heads
from archipel.engine.exact.hashing import row_of
from archipel.engine.exact.judge import Judge
from archipel.engine.exact.parties import Ask, Numbers, TraceParty
from archipel.engine.exact.trace import Trace, attended
from archipel.engine.exact.variants import VARIANTS
from archipel.engine.exact.workings import Read, Working
from archipel.model.config import Family
from exact import oracle
from exact.dispute_cases import TWISTS, Twisted, case, lying, settled
from exact.exact_models import FEW, numbers, world

Lies = dict[tuple[int, ...], int]
"""By working: which of its numbers is another."""
MIXED = 4
"""Of the steps of the first layer; 13 on for each layer more."""
PER_LAYER = 13


class Liar(TraceParty):
    """Says another number in the midst of workings, and sticks to what it said of their ends."""

    def __init__(self, trace: Trace) -> None:
        super().__init__(trace)
        self.tell({})

    def tell(self, lies: Lies, *, on: bool = False) -> None:
        """From now on; with `on`, what follows a lie is other, too."""
        self._lies, self._on = lies, on
        self._workings.clear()

    def _numbers(self, leaf: int, within: tuple[int, ...]) -> Numbers:
        found = super()._numbers(leaf, within)
        if within in self._lies:
            at, end = self._lies[within], found[-1]
            found[at] += 1
            if self._on:
                found[at + 1 :] += 3
            found[-1] = end
        return found


def far(family: Family, variant: str) -> tuple[Judge, Trace]:
    """A longer rollout: positions beyond one chunk of anything."""
    return case(family, variant, 70)


def working_at(judge: Judge, layer: int, position: int, element: int) -> Attention:
    found = judge.working(position * len(judge.steps) + layer * PER_LAYER + MIXED, element)
    assert found is not None
    return found


def every_index(working: Attention, rng: np.random.Generator) -> Iterable[int]:
    """Each kind of number at the first, the last and some position between."""
    last = len(working.heads.rows) - 1
    kinds = {working.at(index)[0] for index in range(working.num)}
    for kind in sorted(kinds):
        for position in {0, last, int(rng.integers(last + 1))}:
            yield working.index(kind, position)


@pytest.mark.parametrize(("family", "variant"), FEW)
def test_a_liar_at_every_step_inside_attention_of_every_layer_is_found_there(
    family: Family, variant: str
) -> None:
    judge, trace = case(family, variant)
    rng = np.random.default_rng(4)
    for layer in range(judge.num_layers):
        position, element = 9 - layer, int(rng.integers(judge.steps[MIXED].width))
        working = working_at(judge, layer, position, element)
        honest = TraceParty(trace)
        liar = Liar(lying(trace, layer * PER_LAYER + MIXED, position, element))
        for index in every_index(working, rng):
            lies: Lies = {(element,): index}
            deeper, names = working.deeper(index), [working.name(index)]
            ats = (
                [0] if deeper is None else [0, 1, 2, int(rng.integers(deeper.num)), deeper.num - 1]
            )
            for at in ats:
                if deeper is not None:
                    lies[element, index] = at
                    names = [working.name(index), deeper.name(at)]
                liar.tell(lies, on=at % 2 == 1)
                assert settled(judge, liar, honest).right == "theirs"
                verdict = settled(judge, honest, liar)
                assert verdict.right == "mine", (names, verdict.reason)
                assert verdict.place is not None
                told = verdict.place
                assert (told.position, told.element) == (position, element)
                assert (told.step, list(told.within)) == (f"layer {layer} mixed", names)
                shown = verdict.transcript.evidence_bytes
                assert shown in (2 * 9, 3 * 9, 9, 256 + 1, 1 + 4 * (judge.width(3) % 64))


def test_far_into_a_text_it_costs_no_more() -> None:
    judge, trace = far("llama", "w13a15")
    position, element = 71, 3
    working = working_at(judge, 1, position, element)
    honest = TraceParty(trace)
    liar = Liar(lying(trace, PER_LAYER + MIXED, position, element))
    for kind in ("product", "exponential", "largest weight", "value", "result"):
        index = working.index(kind, position)
        liar.tell({(element,): index, (element, index): 7})
        assert settled(judge, honest, liar).right == "mine"


@pytest.mark.parametrize(("family", "variant"), FEW)
def test_every_working_ends_in_what_the_engine_computed_and_the_judge_gets_each_of_its_numbers(
    family: Family, variant: str
) -> None:
    judge, trace = case(family, variant)
    rng = np.random.default_rng(6)
    for layer, position in ((0, 0), (0, 1), (1, 5), (1, 10)):
        element = int(rng.integers(judge.steps[MIXED].width))
        working = working_at(judge, layer, position, element)
        leaf = position * len(judge.steps) + layer * PER_LAYER + MIXED
        end = row_of(trace.row(leaf))[element]
        same_throughout(working, trace, float(end))


def same_throughout(working: Working, trace: Trace, end: float) -> None:
    found = working.numbers(lambda leaf: row_of(trace.row(leaf)))
    assert found[-1] == end
    assert len(found) == working.num
    for index in range(working.num):
        deeper, source = working.deeper(index), working.source(index)
        if deeper is not None:
            same_throughout(deeper, trace, found[index])
        elif isinstance(source, Read):
            assert found[index] == row_of(trace.row(source.leaf))[source.element]
        else:
            assert all(need < index for need in source)
            assert working.value(index, [found[need] for need in source]) == found[index]


def heads_seen(
    rng: np.random.Generator, variant: str, spread: float, centre: float
) -> list[np.ndarray]:
    """A query, and keys and values of 40 positions, as integers and scales; scores lie `spread` about `centre`."""
    length, size = 40, 8
    query = rng.normal(size=(1, size)).astype(np.float32)
    top = VARIANTS[variant].attention_top
    (q,), (s_q,) = oracle.cut_head(query, oracle.VARIANTS[variant])
    k, v = rng.integers(-top, top + 1, (2, length, size))
    k[k @ q == 0] = q
    k *= np.sign(k @ q * centre).astype(int)[:, None]
    score = np.abs((k @ q) * float(s_q) / np.sqrt(size))
    s_k = np.abs(centre + spread * rng.normal(size=length)) / score
    s_v = np.exp(rng.normal(size=length)) / top
    return [query, q, s_q, k, s_k.astype(np.float32), v, s_v.astype(np.float32)]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("centre", [0.01, 30.0, 3000.0, -3000.0])
def test_engine_working_and_oracle_agree_to_the_bit_where_every_rounding_shows(
    variant: str, centre: float
) -> None:
    """Scores far from 0 are coarse beside the table's steps: another order of two products is another result."""
    rng, size = np.random.default_rng(7), 8
    config = replace(world("llama")[0], head_dim=size, num_heads=1, num_kv_heads=1)
    arithmetic = numbers(config, variant)
    for spread in (0.5, 4.0, 40.0):
        query, q, s_q, k, s_k, v, s_v = heads_seen(rng, variant, spread, centre)
        right = oracle.attention((q, s_q), (k, s_k), (v, s_v), oracle.VARIANTS[variant])[1]
        rows = np.hstack((k, s_k[:, None], v, s_v[:, None], np.tile([*q, s_q], (len(k), 1))))
        for column in range(size):
            at = Heads(
                tuple(range(len(k))), query=2 * size + 2, query_scale=3 * size + 2, key=0,
                key_scale=size, value=size + 1 + column, value_scale=2 * size + 1, size=size,
                weight_top=VARIANTS[variant].attention_weight_top,
            )  # fmt: skip
            assert Attention(at).numbers(rows.__getitem__)[-1] == right[column]
        held = [torch.from_numpy(part.reshape(len(k), 1, -1)) for part in (k, s_k, v, s_v)]
        held[0], held[2] = held[0].to(arithmetic.dtype), held[2].to(arithmetic.dtype)
        found = attended(arithmetic, torch.from_numpy(query)[None], held, torch.zeros(len(k)))
        assert np.array_equal(found[0].numpy(), right)


@pytest.mark.parametrize("twist", TWISTS)
@pytest.mark.parametrize(
    "what", ["working", "working children", "number", "agreed number", "row chunk"]
)
def test_who_refuses_or_shows_what_it_did_not_commit_to_has_lost(what: str, twist: str) -> None:
    judge, trace = case("llama", "w7a8")
    position, element = 9, 5
    working = working_at(judge, 0, position, element)
    kind = "value" if what == "row chunk" else "weight"
    lies: Lies = {(element,): working.index(kind, 4)}
    liar, honest = Liar(lying(trace, MIXED, position, element)), TraceParty(trace)
    liar.tell(lies)
    bad = Twisted(liar, what, TWISTS[twist])
    verdict = settled(judge, bad, honest)
    assert bad.done
    assert verdict.right == "theirs"
    if what == "working" and twist.startswith("other"):  # a path leads to some root, whatever it is
        return
    assert verdict.reason.startswith("mine ")
    assert settled(judge, honest, Twisted(liar, what, TWISTS[twist])).right == "mine"


def test_zeros_have_no_sign_and_what_is_no_number_has_one_form() -> None:
    judge, trace = case("llama", "w7a8")
    odd = np.frombuffer(b"\x01\x00\xc0\xff", "<f4")[0]
    for one, other in ((odd, np.nan), (-0.0, 0.0)):
        told = []
        for each in (one, other):
            values = tuple(rows.copy() for rows in trace.values)
            values[2][9, 3] = each
            told.append(replace(trace, values=values))
        assert TraceParty(told[0]).root == TraceParty(told[1]).root
        assert settled(judge, TraceParty(trace), TraceParty(told[0])).right == "mine"


class Signed(Trace):
    """Commits to the first zero of each row with a sign."""

    def row(self, leaf: int) -> bytes:
        row = super().row(leaf)
        if bytes(4) not in [row[at : at + 4] for at in range(0, len(row), 4)]:
            return row
        at = row_of(row).tolist().index(0.0)
        return row[: 4 * at + 3] + b"\x80" + row[4 * at + 4 :]


def test_who_commits_to_a_number_in_another_form_has_lost() -> None:
    judge, trace = case("llama", "w7a8")
    odd = TraceParty(Signed(trace.config, trace.question, trace.values))
    verdict = settled(judge, odd, TraceParty(trace))
    assert (verdict.right, "another form" in verdict.reason) == ("theirs", True)
    assert settled(judge, TraceParty(trace), odd).right == "mine"


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf, 1e38, -1e38])
def test_numbers_on_which_both_agree_and_that_are_none_stop_no_judge(nothing: float) -> None:
    judge, _ = case("llama", "w7a8")
    working = working_at(judge, 1, 9, 5)
    width = judge.steps[MIXED - 1].width
    assert len(working.numbers(lambda leaf: np.full(width, nothing, np.float32))) == working.num
    for index in range(working.num):
        source = working.source(index)
        if not isinstance(source, Read) and working.deeper(index) is None:
            found = working.value(index, [np.float64(nothing)] * len(source))
            assert isinstance(found, np.float64)


def test_asks_that_make_no_sense_are_refused() -> None:
    judge, trace = case("llama", "w7a8")
    party = TraceParty(trace)
    leaf = 9 * len(trace.steps) + MIXED
    width = judge.steps[MIXED].width
    for ask in (
        Ask("working", leaf, within=(width,)), Ask("working", leaf, within=(-1,)),
        Ask("working", leaf + 1, within=(0,)), Ask("working", leaf, within=(0, 0)),
        Ask("working", leaf, within=(0, 1, 1)), Ask("working", leaf, within=(0, 10**9)),
        Ask("working children", leaf, 99, 0, (0,)), Ask("working children", leaf, 1, 10**6, (0,)),
        Ask("working", 10**9, within=(0,)), Ask("row chunk", leaf, 99, 0),
    ):  # fmt: skip
        assert party.answer(ask) is None, ask
