"""Weights read in plain Python are what the tensor library reads, byte for byte; and nothing else is read."""

import dataclasses
import hashlib
import random
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from archipel.cli import quick_differences
from archipel.model.adapter import Adapter
from archipel.model.adapter_files import write_adapter
from archipel.model.difference import encode_block
from archipel.model.manifest import Over, describe
from archipel.model.versions import encode_anchor, encode_delta
from archipel.records.adapter import AdapterForm
from archipel.release.weights import difference
from archipel.release.weights.delta import after_delta, from_anchor
from archipel.release.weights.manifest import BadVersion, Tensor, read_manifest, state_digest
from archipel.release.weights.stored import BadStored, digests_in, header_of, read_header

State = dict[str, torch.Tensor]
FORM = AdapterForm(rank=2, alpha_micro=4_000_000, targets=("q_proj",), rank_stabilised=False)


def state(seed: int, rows: int = 50) -> State:
    torch.manual_seed(seed)
    shapes = {"a.weight": (rows, 8), "b": (7,), "c.d": (1, 2, 3), "empty": (0, 4)}
    return {name: torch.randn(shape).bfloat16() for name, shape in shapes.items()}


def moved(before: State, by: float, seed: int) -> State:
    torch.manual_seed(seed)
    return {n: (e.float() * (1 + by * torch.randn(e.shape))).bfloat16() for n, e in before.items()}


def raw(weights: State) -> bytes:
    return b"".join(weights[n].view(torch.int16).numpy().tobytes() for n in sorted(weights))


@pytest.mark.parametrize("by", [0.0, 1e-4, 1e-3, 0.02, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_delta_and_an_anchor_lead_where_the_tensor_library_goes(by: float, seed: int) -> None:
    one = state(seed)
    other = moved(one, by, seed + 100)
    first = describe(one, 0, None)
    second = describe(other, 1, first.state)
    held, target = read_manifest(first.to_bytes()), read_manifest(second.to_bytes())
    assert held.state == first.state
    assert held.parameters == sum(each.numel() for each in one.values())
    before = from_anchor(encode_anchor(one), held)
    assert before == raw(one)
    delta = encode_delta(one, other, first, second)
    assert after_delta(before, held, delta, target) == raw(other)
    assert after_delta(before, held, delta, target, quick_differences.decode()) == raw(other)


def test_numpy_decodes_and_refuses_what_plain_python_does() -> None:
    """Blocks of every kind, and the same with one byte or one number changed."""
    rng = random.Random(5)
    told = {True: 0, False: 0}
    for number in range(300):
        before = raw({"w": torch.randn(rng.randrange(1, 400)).bfloat16()})
        old = np.frombuffer(before, dtype="<u2")
        share = rng.choice([0.002, 0.1, 0.3, 1.0])
        new = old + (np.random.default_rng(number).random(len(old)) < share) * rng.choice([1, 300])
        coded = encode_block(old, new.astype("<u2"))
        said = {
            each.name: getattr(coded, each.name) for each in dataclasses.fields(difference.Block)
        }
        if number % 2:
            name = rng.choice(sorted(said))
            value = said[name]
            if isinstance(value, bytes):
                at = rng.randrange(len(value)) if value else 0
                said[name] = value[:at] + bytes([rng.randrange(256)]) + value[at + 1 :]
            else:
                said[name] = max(0, value + rng.choice([-1, 1, 2**20]))
        outcomes = []
        for decode in (difference.decoded, quick_differences.decoded_by_numpy):
            try:
                outcomes.append(decode(before, difference.Block(**said)))
            except difference.BadDifference:
                outcomes.append(None)
        assert outcomes[0] == outcomes[1], (number, said)
        told[outcomes[0] is None] += 1
    assert min(told.values()) > 50


def test_every_bit_pattern_moves_to_every_kind_of_other() -> None:
    """NaN, infinities, both zeros and subnormal numbers; from a few patterns to all 65,536."""
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    for pattern in (0x7FC1,):
        one: State = {"w": torch.full((2**16,), pattern, dtype=torch.int16).view(torch.bfloat16)}
        for start, end in ((one, {"w": every}), ({"w": every}, one)):
            first = describe(start, 0, None)
            second = describe(end, 1, first.state)
            delta = encode_delta(start, end, first, second)
            held, target = read_manifest(first.to_bytes()), read_manifest(second.to_bytes())
            assert after_delta(raw(start), held, delta, target) == raw(end)


def test_a_delta_that_leads_elsewhere_is_refused() -> None:
    one = state(1)
    two, three = moved(one, 0.01, 2), moved(one, 0.01, 3)
    first = describe(one, 0, None)
    second, other = describe(two, 1, first.state), describe(three, 1, first.state)
    held, target = read_manifest(first.to_bytes()), read_manifest(second.to_bytes())
    delta = encode_delta(one, three, first, other)
    with pytest.raises(BadVersion, match="not the one from version 0"):
        after_delta(raw(one), held, delta, target)
    honest = encode_delta(one, two, first, second)
    with pytest.raises(BadVersion, match="leads to another"):
        after_delta(raw(three), held, honest, target)
    with pytest.raises(BadVersion, match="does not follow"):
        after_delta(raw(two), target, honest, held)
    with pytest.raises(BadVersion, match="leads to another"):
        from_anchor(encode_anchor(three), target)


def test_a_frame_is_never_inflated_beyond_what_the_weights_need() -> None:
    import zstandard

    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(50_000_000))
    block = difference.Block(1, difference.GAPS, 1, 1, bomb, bomb)
    with pytest.raises(difference.BadDifference, match="states 50000000 bytes; expected 1 to 1"):
        difference.decoded(bytes(64), block)
    with pytest.raises(BadVersion, match="states 50000000"):
        from_anchor(bomb, read_manifest(describe(state(1), 0, None).to_bytes()))


def test_a_file_has_the_state_digest_of_its_tensors(tmp_path: Path) -> None:
    weights = state(4)
    path = tmp_path / "m.safetensors"
    safetensors.torch.save_file(weights, path, metadata={"format": "pt"})
    found = [
        Tensor(each.name, each.dtype, each.shape, digest)
        for each, digest in digests_in(path, header_of(path))
    ]
    assert state_digest(found) == describe(weights, 3, None).state


def test_an_adapter_s_file_says_what_it_lies_over_in_the_same_bytes_each_time(
    tmp_path: Path,
) -> None:
    weights = {f"base_model.model.l.{n}.weight": torch.randn(2, 4).bfloat16() for n in "ab"}
    over = Over(f"sha256:{'3' * 64}", FORM)
    seen = set()
    for number in range(8):
        write_adapter(tmp_path / str(number), Adapter(FORM, weights), over)
        data = (tmp_path / str(number) / "adapter_model.safetensors").read_bytes()
        seen.add(hashlib.sha256(data).hexdigest())
    header = read_header(data, len(data))
    assert set(header.metadata) == {"archipel", "format"}
    assert len(seen) == 1


def test_what_is_no_file_of_tensors_is_refused(tmp_path: Path) -> None:
    data = safetensors.torch.save(state(1))
    for spoilt, words in (
        (b"", "it begins with nothing"),
        (b"\xff" * 8, "expected the length of a header"),
        (data[:20], "cut short"),
        (data + b"x", "end at byte"),
        (data[:-1], "end at byte"),
        (b"\x02" + bytes(7) + b"[]", "no object"),
        (b"\x14" + bytes(7) + b'{"a":1,"a":2,"b":1}\n', "stands there twice"),
    ):
        with pytest.raises(BadStored, match=words):
            read_header(spoilt, len(spoilt))
    for fields, words in (
        ('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,2]}}', "its shape needs 4"),
        ('{"a":{"dtype":"X","shape":[1],"data_offsets":[0,4]}}', "expected one of"),
        ('{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', "no shape"),
        ('{"a":{"dtype":"I8","shape":[1],"data_offsets":[1,2]}}', "where .* was expected"),
        (
            '{"a":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},'
            '"b":{"dtype":"I8","shape":[2],"data_offsets":[1,3]}}',
            "where .* was expected",
        ),
        ('{"__metadata__":{"a":1}}', "no object of texts"),
    ):
        head = fields.encode()
        whole = len(head).to_bytes(8, "little") + head + bytes(4)
        with pytest.raises(BadStored, match=words):
            read_header(whole, len(whole))
