"""What the formulas say of memory is what processes of two sizes really hold, within a fifth."""

from pathlib import Path

import pytest

from work.peaks import WAYS, foreseen, measured, recipe_of


@pytest.mark.slow
@pytest.mark.parametrize("form", [(320, 8, 896), (512, 9, 1408)])
def test_update_and_node_hold_what_was_foreseen(tmp_path: Path, form: tuple[int, int, int]) -> None:
    for what in ("update", "node"):
        found, expected = measured(what, tmp_path, form), foreseen(what, recipe_of(*form)).peak
        assert found == pytest.approx(expected, rel=0.2), what


@pytest.mark.slow
@pytest.mark.parametrize("way", [way for way in WAYS if way != "plain"])
def test_a_thrifty_update_holds_what_was_foreseen(tmp_path: Path, way: str) -> None:
    form = (320, 8, 896)
    found = measured("update", tmp_path, form, way)
    assert found == pytest.approx(foreseen("update", recipe_of(*form, way)).peak, rel=0.2)
