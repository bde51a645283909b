"""A stretch made again by somebody else, from a revealed state; and what a stranger may have revealed instead."""

from dataclasses import replace

import pytest
import torch

from archipel.training.checkpoint import write_file
from archipel.training.inner.member import Member
from archipel.training.inner.replaying import BadState, read_state, replay_stretch, write_state
from archipel.training.inner.state import digest_of_parts, distance, fresh_state, stretches
from training.inner.texts import following, tiny_base, tiny_terms, windows_from
from training.tiny_learner import tiny_model

torch.set_num_threads(1)
STEPS, EVERY = 5, 2
TERMS = tiny_terms()


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A member's second work: its commitments, and the state that it reveals of each stretch."""
    folder = tmp_path_factory.mktemp("member")
    member, base = Member(tiny_model(), TERMS, folder), tiny_base()
    first = member.train(base, windows_from(0), 0, STEPS, EVERY, "0")
    member.keep({name: each / 2 for name, each in first.delta.items()})
    base = following(base, first)
    second = member.train(base, windows_from(STEPS), STEPS, STEPS, EVERY, "1")
    files = []
    for begin, _ in stretches(STEPS, EVERY):
        path = folder / f"revealed-{begin}"
        write_state(path, member.reveal(base, windows_from(STEPS), STEPS, begin, "1"))
        files.append(path)
    return first.commitments, second.commitments, files


def shapes():
    return {name: each.shape for name, each in tiny_base().items()}


def test_every_stretch_made_again_elsewhere_ends_where_the_member_said(told):
    _, commitments, files = told
    for number, (begin, steps) in enumerate(stretches(STEPS, EVERY)):
        state = read_state(files[number], shapes(), TERMS)
        assert state.digest() == commitments[number]
        at = STEPS + begin
        after = replay_stretch(tiny_model(8), state, windows_from(at), at, steps, TERMS)
        assert after.digest() == commitments[number + 1]
        assert not any(distance(after, after).values())


def test_other_text_a_step_less_or_another_rate_end_elsewhere(told):
    _, commitments, files = told
    state = read_state(files[0], shapes(), TERMS)
    for text, at, steps in ((0, STEPS, EVERY), (STEPS, STEPS, 1), (STEPS, STEPS + 1, EVERY)):
        after = replay_stretch(tiny_model(8), state, windows_from(text), at, steps, TERMS)
        assert after.digest() != commitments[1]


def test_a_new_members_first_commitment_is_known_to_whoever_has_the_version(told):
    assert fresh_state(tiny_base(), TERMS).digest() == told[0][0]


def test_each_part_of_a_state_is_in_its_digest_and_can_be_shown_alone(told):
    state = read_state(told[2][0], shapes(), TERMS)
    assert digest_of_parts(state.steps, state.digests()) == state.digest()
    assert state.residual, "the residual of the work before is part of it"
    for part in ("weights", "moments", "residual"):
        tensors = dict(getattr(state, part))
        name = max(tensors)
        tensors[name] = tensors[name] + 1
        assert replace(state, **{part: tensors}).digest() != state.digest()
    assert replace(state, steps=state.steps + 1).digest() != state.digest()


def test_a_distance_says_which_tensor_lies_apart_and_by_how_much(told):
    state = read_state(told[2][0], shapes(), TERMS)
    name = "model.norm.weight"
    moved = replace(state, weights={**state.weights, name: state.weights[name] * 1.5})
    found = distance(state, moved)
    assert found.pop(f"weights.{name}") == pytest.approx(0.5)
    assert not any(found.values())


def test_a_strangers_file_is_refused_unless_it_is_a_state_of_this_network(told, tmp_path):
    state = read_state(told[2][0], shapes(), TERMS)
    name, path = "model.norm.weight", tmp_path / "file"

    def refused(said: str, **changes) -> None:
        write_state(path, replace(state, **changes))
        with pytest.raises(BadState, match=said):
            read_state(path, shapes(), TERMS)

    weights, residual = dict(state.weights), dict(state.residual)
    refused("not finite", weights=weights | {name: weights[name] / 0})
    refused("of shape", weights=weights | {name: weights[name][1:]})
    refused("expected float32", weights=weights | {name: weights[name].half()})
    refused("no such name", weights=weights | {"more": weights[name]})
    refused("tensors of weights", weights={n: each for n, each in weights.items() if n != name})
    refused("tensors of residual", residual={name: residual[name]})
    refused("steps", steps=-1)
    refused("of moments", moments={})
    write_state(path, replace(state, residual={}))
    assert not read_state(path, shapes(), TERMS).residual
    write_file(path, 1, {"a": torch.ones(1)}, {})
    with pytest.raises(BadState, match="expected form"):
        read_state(path, shapes(), TERMS)
    with pytest.raises(BadState, match="cannot be read"):
        read_state(tmp_path / "absent", shapes(), TERMS)
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(BadState, match="so it is not one"):
        read_state(path, shapes(), TERMS)
