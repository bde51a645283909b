"""Stop strings and allowed tokens in every engine: what is cut off is cut where it ends, nothing else changes."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from archipel.engine.engine import EngineLimits, LocalEngine
from archipel.engine.exact.sampling import sample as sample_exactly
from archipel.engine.protocol import Ticket
from archipel.engine.sampler import Draw, sample
from archipel.engine.scheduler import Admission, Move
from archipel.engine.slots import Slots
from archipel.engine.vllm_engine import _completion
from archipel.model.cuts import AllowedRows, CutRows
from archipel.model.stop_strings import StopStrings
from archipel.records.cuts import Cut
from archipel.records.requests import Allowed, InvalidRequest, Request
from archipel.records.rollouts import Rollout
from engine.engine_models import lively_state, small_config

torch.set_num_threads(1)
CPU = torch.device("cpu")
PIECES = tuple(bytes([97 + token % 26]) * (1 + token // 26) for token in range(64))
"""Of a vocabulary of 64: one letter, written up to three times."""
STOPS = StopStrings.of(["ab", "ccc", "e", "xx"], PIECES)
ALLOWED = Allowed(frozenset(range(5, 30)))


def request(key: str, **changed) -> Request:
    plain = Request(
        key=key, prompt=(3, 4, 5 + len(key)), seed=7, num_rollouts=6, max_new_tokens=30,
        stop_tokens=(1,),
    )  # fmt: skip
    return replace(plain, **changed)


def engine(**limits) -> LocalEngine:
    config = small_config()
    made = LocalEngine(config, limits=EngineLimits(**limits))
    made.load(lively_state(config))
    return made


def cut_off(rollout: Rollout) -> Rollout:
    """What is left of a completion that was sampled to its end."""
    end = STOPS.end_of(rollout.tokens)
    if end is None:
        return rollout
    return Rollout(rollout.tokens[:end], rollout.logprobs[:end], True)


def test_a_stop_string_only_cuts_off_and_neighbours_do_not_matter():
    whole = engine().generate([request("a"), request("bb", temperature=0.7)])
    alone = engine().generate([request("a", ending=STOPS)])[0]
    assert alone == tuple(map(cut_off, whole[0]))
    lengths = {len(each.tokens) for each in alone}
    assert len(lengths) > 2, "they end at different places"
    # Few slots: sequences wait, enter and move down while others go on.
    mixed = engine(max_slots=5).generate(
        [request("a", ending=STOPS), request("bb", temperature=0.7), request("a", ending=STOPS)]
    )
    assert mixed == [alone, whole[1], alone]


@pytest.mark.parametrize("how", ["moved", "resized", "stays"])
def test_half_a_stop_string_goes_with_its_sequence(how):
    slots = Slots(4)
    slots.admit([(request("a", ending=STOPS, allowed=ALLOWED), Admission(Ticket(7), 0, (3,)))])
    at, logprob = np.array([3]), np.zeros(1, dtype=np.float32)
    x = np.array([23])
    assert not slots.record(at, x, logprob)
    if how == "moved":
        slots.move([Move(3, 0)])
        at = np.array([0])
    elif how == "resized":
        slots = slots.resized(6, 4)
    assert slots.draw(at, CPU).allowed.choices == (ALLOWED,)
    ended = slots.record(at, x, logprob)
    assert [(each.tokens, each.finished) for each in ended.values()] == [((23, 23), True)]
    # Whoever enters there next begins anew.
    slots.admit([(request("b", ending=STOPS), Admission(Ticket(8), 0, tuple(at.tolist())))])
    assert not slots.record(at, x, logprob)


def test_nothing_outside_the_allowed_tokens_is_sampled_and_what_is_left_is_renormalised():
    logits = torch.randn(6, 64, generator=torch.Generator().manual_seed(0)) * 4
    uniform = torch.linspace(0.01, 0.99, 6).double().unsqueeze(1)
    rows = AllowedRows((ALLOWED,), None)
    tokens, logprobs = sample(logits, Draw(uniform, None, None, None, rows))
    kept = sorted(ALLOWED.tokens)
    expected = torch.log_softmax(logits[:, kept].double(), -1)
    for row, (token, logprob) in enumerate(zip(tokens.tolist(), logprobs.tolist(), strict=True)):
        assert token in ALLOWED.tokens
        assert logprob == pytest.approx(expected[row, kept.index(token)].item(), abs=1e-5)
    greedy = torch.ones(6, 1, dtype=torch.bool)
    tokens, _ = sample(logits, Draw(uniform, None, greedy, None, rows))
    assert tokens.tolist() == [kept[place] for place in logits[:, kept].argmax(-1)]
    # A cut is one of what is allowed: its bounds see nothing else.
    both = Draw(uniform, None, None, CutRows.alike(Cut(top_k=2), CPU), rows)
    tokens, _ = sample(logits, both)
    best = {kept[place] for place in logits[:, kept].topk(2).indices.flatten()}
    assert set(tokens.tolist()) <= best


def test_rows_that_may_say_all_are_not_touched_by_those_that_may_not():
    whole = engine().generate([request("a"), request("bb")])
    mixed = engine().generate([request("a"), request("bb", allowed=ALLOWED)])
    assert mixed[0] == whole[0]
    assert mixed[1] == engine().generate([request("bb", allowed=ALLOWED)])[0]
    said = {token for each in mixed[1] for token in each.tokens}
    assert said <= ALLOWED.tokens
    assert not {t for each in whole[1] for t in each.tokens} <= ALLOWED.tokens


@pytest.mark.parametrize("temperature", [1e-6, 1e-3])
def test_what_is_left_out_has_no_chance_at_the_lowest_temperature(temperature):
    logits = (-torch.rand(4, 64, generator=torch.Generator().manual_seed(1)) * 9 - 1) / temperature
    uniform = torch.full((4, 1), 0.5).double()
    for draw in (
        Draw(uniform, None, None, CutRows.alike(Cut(top_k=1), CPU)),
        Draw(uniform, None, None, None, AllowedRows((ALLOWED,), None)),
    ):
        tokens, logprobs = sample(logits, draw)
        left = logits if draw.allowed is None else logits[:, sorted(ALLOWED.tokens)]
        assert np.allclose(logits.gather(1, tokens[:, None])[:, 0], left.max(-1).values)
        assert np.allclose(logprobs, 0.0, atol=1e-5)


def test_a_request_that_may_say_nothing_is_refused():
    with pytest.raises(InvalidRequest, match="no token is allowed"):
        request("a", allowed=Allowed(frozenset()))
    with pytest.raises(InvalidRequest, match=r"no token of 0\.\.63 is allowed"):
        engine().add(request("a", allowed=Allowed(frozenset({64}))))


def test_the_exact_contract_refuses_by_name_what_it_does_not_sample_from():
    draw = Draw(torch.full((1, 1), 0.5).double(), None, None, None, AllowedRows((ALLOWED,), None))
    with pytest.raises(InvalidRequest, match="allowed"):
        sample_exactly(torch.randn(1, 64), draw)


def test_what_vllm_sampled_after_the_end_is_dropped():
    tokens = [2, 0, 1, 7]
    steps = [{token: SimpleNamespace(logprob=-float(token))} for token in tokens]
    output = SimpleNamespace(token_ids=tokens, logprobs=steps, finish_reason="length")
    answer = SimpleNamespace(outputs=[output])
    assert _completion(answer, None) == Rollout((2, 0, 1, 7), (-2.0, 0.0, -1.0, -7.0), False)
    assert _completion(answer, STOPS) == Rollout((2, 0, 1), (-2.0, 0.0, -1.0), True)


def test_the_transformers_engine_ends_and_leaves_out_alike(tmp_path):
    pytest.importorskip("transformers")
    from archipel.engine.transformers_engine import TransformersEngine
    from archipel.model.directory import write_model

    config = small_config()
    state = lively_state(config)
    write_model(tmp_path, state, config, None)
    theirs = TransformersEngine(tmp_path)
    theirs.load(state)
    asked = [request("a", ending=STOPS), request("bb", allowed=ALLOWED)]
    for ours, other in zip(engine().generate(asked), theirs.generate(asked), strict=True):
        assert [each.tokens for each in ours] == [each.tokens for each in other]
