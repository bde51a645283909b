"""How far two trainers stand from each other, by what each wrote in one file at its end."""

from pathlib import Path

import torch

from archipel.training.checkpoint import read_latest

Tensors = dict[str, torch.Tensor]


def ended(folder: Path) -> Tensors:
    return read_latest(folder / "whole").tensors


def assert_same(one: Path, other: Path) -> None:
    found, expected = ended(one), ended(other)
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


def assert_near(one: Path, other: Path) -> None:
    """In every master, by what one float32 sum in another order can move it in a few steps; `-s` shows how far."""
    found, expected = ended(one), ended(other)
    assert found.keys() == expected.keys()
    apart, of_largest = 0.0, 0.0
    for name, tensor in found.items():
        if name.startswith("master"):
            torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6, msg=name)
            gap = float((tensor - expected[name]).abs().max())
            apart = max(apart, gap)
            of_largest = max(of_largest, gap / max(float(expected[name].abs().max()), 1e-30))
    print(
        f"{one.parent.name}/{one.name} beside {other.parent.name}/{other.name}: "
        f"{apart:.1e}, {of_largest:.1e} of a tensor's largest number"
    )
