"""A model that does not fit is refused before it is read, and what is offered instead fits."""

import os
import re
from pathlib import Path
from typing import get_args

import pytest
import torch

from archipel.engine.capacity import EngineLimits
from archipel.engine.quantised.arithmetic import Weights
from archipel.model.config import DecoderConfig
from archipel.model.config_files import InvalidModel
from archipel.model.directory import read_mapped, read_model
from archipel.serve import loading
from archipel.serve.fitting import available_bytes, check_fits, need
from archipel.serve.served import How, serve_folder
from archipel.work.folders import folder_of
from serve.served_models import NOW, tiny_model

SEVEN = DecoderConfig("llama", 32_000, 4096, 32, 32, 32, 128, 11_008, 4096)
"""Of 6.7 thousand million weights."""
LIMITS = EngineLimits(max_cache_bytes=10**9)


def test_a_need_is_what_the_bits_say() -> None:
    for weights, at_least, at_most in (
        ("float32", 26.9, 27.1), ("bfloat16", 13.4, 13.6), ("int8", 6.7, 7.1), ("int4", 4.3, 4.8),
    ):  # fmt: skip
        assert at_least < need(SEVEN, weights, LIMITS).weights / 1e9 < at_most  # type: ignore[arg-type]


def test_what_is_offered_fits() -> None:
    least = EngineLimits(max_cache_bytes=60_000_000)
    num_refused = 0
    for weights in get_args(Weights):
        for available in range(500_000_000, 35_000_000_000, 500_000_000):
            said = _refusal(weights, available)
            assert (said is None) == (need(SEVEN, weights, LIMITS).total <= available)
            if said is None:
                continue
            num_refused += 1
            offers = _OFFER.findall(said.split("are free:")[1])
            assert bool(offers) != ("nothing smaller fits" in said)
            for kind, cache in offers:
                limits = EngineLimits(max_cache_bytes=round(float(cache or 1) * 1e9))
                check_fits(SEVEN, kind or weights, limits, available)
            assert offers or need(SEVEN, "int4", least).total > available
    assert num_refused > 50


_OFFER = re.compile(r"(?:--weights (\w+))? ?(?:--max-cache-gb ([\d.]+))? takes")


def _refusal(weights: Weights, available: int) -> str | None:
    try:
        check_fits(SEVEN, weights, LIMITS, available)
    except InvalidModel as error:
        return str(error)
    return None


def test_nothing_is_read_of_a_model_that_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(tmp_path / "model")
    monkeypatch.setattr(loading, "available_bytes", lambda: 300_000_000)
    monkeypatch.setattr(loading, "read_mapped", lambda path: pytest.fail("it was read"))
    with pytest.raises(InvalidModel, match=r"does not fit: .*0\.30 GB are free: .*--max-cache-gb"):
        serve_folder(folder_of(model), How("tiny", limits=LIMITS), NOW)


def test_what_is_free_is_no_more_than_there_is() -> None:
    assert 0 < available_bytes() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_mapped_weights_are_those_of_the_file_and_lie_in_it(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model")
    mapped = read_mapped(model)
    for name, weight in read_model(model, torch.bfloat16).state_dict().items():
        assert torch.equal(mapped[name], weight)
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("this system does not tell what is mapped")
    ranges = [
        tuple(int(end, 16) for end in line.split()[0].split("-"))
        for line in maps.read_text().splitlines()
        if line.endswith("model.safetensors")
    ]
    for weight in mapped.values():
        assert any(first <= weight.data_ptr() < last for first, last in ranges)


@pytest.mark.parametrize("weights", get_args(Weights))
def test_a_fingerprint_names_what_weights_are_held_as(tmp_path: Path, weights: Weights) -> None:
    model = tiny_model(tmp_path / "model")
    how = How("tiny", limits=EngineLimits(max_cache_bytes=2**26), weights=weights)
    one = serve_folder(folder_of(model), how, NOW)
    one.desk.close()
    assert f"-{weights}-" in one.fingerprint
