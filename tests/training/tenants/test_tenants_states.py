"""A state that was written and read goes on as if nothing had happened; one that was damaged is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from archipel.model.adapter_files import read_adapter, write_adapter
from archipel.model.manifest import WrongTensors
from archipel.training.checkpoint import BadCheckpoint
from archipel.training.tenants.state import FILES, TenantState
from training.tenants.asked import STEP, ask, form_of, moved, run, tenants
from training.tenants.test_tenants_in_company import bits

torch.set_num_threads(1)
FORM = form_of(3, ("v_proj", "up_proj", "lm_head"))
FIRST, THEN = (ask(1, (6, 2)), STEP, ask(2, (4,))), (ask(3, (7,), "ppo"), STEP)


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "own head"])
def over(request):
    return tenants(tie_word_embeddings=request.param)


def test_a_state_on_disk_goes_on_as_one_in_memory(over, tmp_path: Path) -> None:
    state = moved(over, FORM, 1)
    run(over, state, *FIRST)
    state.write(tmp_path / "kept")
    expected = bits(state, run(over, state, *THEN))
    again = TenantState.read(tmp_path / "kept", FORM, over.config)
    assert bits(again, run(over, again, *THEN)) == expected


def test_without_the_optimiser_it_begins_anew_from_the_weights(over, tmp_path: Path) -> None:
    state = moved(over, FORM, 1)
    run(over, state, *FIRST)
    state.write(tmp_path)
    again = TenantState.read(tmp_path, None, over.config, optimiser=False)
    assert (again.steps, again.moments, again.gradient) == (0, None, None)
    assert torch.equal(again.masters, state.masters)


def test_a_state_of_another_form_or_model_is_refused(over, tmp_path: Path) -> None:
    moved(over, FORM, 1).write(tmp_path)
    with pytest.raises(WrongTensors, match="expected"):
        TenantState.read(tmp_path, form_of(4), over.config)
    with pytest.raises(WrongTensors, match="shape"):
        TenantState.read(tmp_path, None, tenants(hidden_size=8).config)


@pytest.mark.parametrize("place", [3, 200, -1])
def test_a_flipped_bit_is_noticed(over, tmp_path: Path, place: int) -> None:
    moved(over, FORM, 1).write(tmp_path)
    file = tmp_path / FILES[0]
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    with pytest.raises((BadCheckpoint, WrongTensors)):
        TenantState.read(tmp_path, FORM, over.config)


def test_tensors_that_are_no_state_are_refused(over, tmp_path: Path) -> None:
    moved(over, FORM, 1).write(tmp_path)
    file = tmp_path / FILES[0]
    save_file(load_file(file), file)
    with pytest.raises(BadCheckpoint):
        TenantState.read(tmp_path, FORM, over.config)
    file.unlink()
    with pytest.raises(BadCheckpoint, match="cannot be read"):
        TenantState.read(tmp_path, FORM, over.config)


def test_what_is_published_is_the_adapter_that_the_next_pass_computes_with(over, tmp_path) -> None:
    state = moved(over, FORM, 1)
    run(over, state, *FIRST)
    write_adapter(tmp_path / "a", state.adapter(), None, "base")
    read, _ = read_adapter(tmp_path / "a", over.config)
    assert read.form == FORM
    rounded = state.layout.views(state.rounded())
    assert {name: each.float().tolist() for name, each in read.state.items()} == {
        name: each.tolist() for name, each in rounded.items()
    }
