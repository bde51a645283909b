"""What the bench commands share: what is given replaces the plan's own, and nothing else does."""

from dataclasses import dataclass, replace
from pathlib import Path

from archipel.cli.benches import chosen, out_folder


@dataclass(frozen=True)
class _Plan:
    seeds: tuple[int, ...] = (0, 1, 2)
    updates: int = 80
    target: float = 0.9
    ages: tuple[int, ...] = (0, 4)


def test_only_what_was_given_replaces_what_the_plan_says() -> None:
    names = ("updates", "target", "ages")
    nothing = {"seeds": None, "updates": None, "target": None, "ages": ()}
    assert replace(_Plan(), **chosen(_Plan(), nothing, *names)) == _Plan()
    some = {"seeds": 2, "updates": 5, "target": 0.0, "ages": (8,)}
    assert replace(_Plan(), **chosen(_Plan(), some, *names)) == _Plan((0, 1), 5, 0.0, (8,))


def test_a_measurement_has_a_folder_of_its_own_unless_one_was_named() -> None:
    assert out_folder(Path("here"), "parity") == Path("here")
    assert str(out_folder(None, "parity")).startswith("runs/parity-20")
