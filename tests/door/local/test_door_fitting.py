"""What does not fit is refused before it is loaded, with what would."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from archipel.door.hands import CannotDo
from archipel.door.local import loading
from archipel.door.local.fitting import (
    Limits,
    ModelRoom,
    base_bytes,
    check_base,
    least_pass,
    part,
    state_bytes,
)
from archipel.model.directory import write_model
from engine.engine_models import decoder_of, lively_state
from one_base import CONFIG, FORM

LIMITS = Limits(max_cache_bytes=2**22, max_adapter_bytes=2**20)


def test_a_base_that_does_not_fit_is_refused_with_what_it_takes() -> None:
    need = base_bytes(CONFIG) + 2**22 + least_pass(CONFIG) + 400_000_000
    check_base(CONFIG, LIMITS, need)
    check_base(CONFIG, LIMITS, None)
    with pytest.raises(CannotDo, match="smaller base"):
        check_base(CONFIG, LIMITS, need - 1)


def test_the_rank_that_is_offered_fits_and_the_next_does_not() -> None:
    one = state_bytes(CONFIG, FORM.model_copy(update={"rank": 1}))
    room = ModelRoom(CONFIG, 7 * one + one // 2)
    room.take("a", FORM)
    with pytest.raises(CannotDo, match="rank 5 fits"):
        room.take("b", FORM.model_copy(update={"rank": 64}))
    room.take("b", FORM.model_copy(update={"rank": 5}))
    with pytest.raises(CannotDo, match="end a session"):
        room.take("c", FORM.model_copy(update={"rank": 1}))
    room.give("a")
    room.give("a")
    room.take("c", FORM)


def test_a_family_without_such_layers_is_told_which_it_has() -> None:
    joined = replace(CONFIG, family="phi3")
    with pytest.raises(CannotDo, match="no single q_proj"):
        state_bytes(joined, FORM)


def test_a_base_is_loaded_from_its_folder_and_its_embedding_is_held_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = lively_state(CONFIG)
    write_model(tmp_path / "model", decoder_of(CONFIG, state), CONFIG)
    base = loading.load_base(tmp_path / "model", LIMITS)
    assert base.config == CONFIG
    assert base.tokenizer is None
    assert 0 < base.parted.model_bytes < 10**13
    held = base.engine._decoder._embedding
    assert held.data_ptr() == base.decoder.model.embed_tokens.weight.data_ptr()
    for name, weight in base.decoder.named_parameters():
        assert torch.equal(weight, state[name].float())
        assert not weight.requires_grad
    monkeypatch.setattr(loading, "free_bytes", lambda: 1000)
    with pytest.raises(CannotDo, match="smaller base"):
        loading.load_base(tmp_path / "model", LIMITS)
    with pytest.raises(CannotDo, match="config"):
        loading.load_base(tmp_path / "none", LIMITS)


def test_what_is_left_is_parted_and_too_little_is_refused() -> None:
    free = 400_000_000 + 2**22 + 2**20 + 9 * least_pass(CONFIG)
    parted = part(CONFIG, LIMITS, free)
    assert parted.pass_bytes == 3 * least_pass(CONFIG)
    assert parted.model_bytes == 6 * least_pass(CONFIG)
    assert part(CONFIG, LIMITS, None).model_bytes > 10**14
    for limits, left in (
        (LIMITS, free - 8 * least_pass(CONFIG)),
        (replace(LIMITS, max_pass_bytes=1), free),
    ):
        with pytest.raises(CannotDo, match="smaller base"):
            part(CONFIG, limits, left)
