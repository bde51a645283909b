"""What the formulas say of memory is what processes of two sizes really hold, within a fifth."""

from pathlib import Path

import pytest

from work.peaks import foreseen, measured, recipe_of


@pytest.mark.slow
@pytest.mark.parametrize("form", [(320, 8, 896), (512, 9, 1408)])
def test_update_and_node_hold_what_was_foreseen(tmp_path: Path, form: tuple[int, int, int]) -> None:
    for what in ("update", "node"):
        found, expected = measured(what, tmp_path, form), foreseen(what, recipe_of(*form)).peak
        assert found == pytest.approx(expected, rel=0.2), what
