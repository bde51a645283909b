"""The demo's control learns on from the same start, for as many sequences as RL, and knows nothing of RL."""

import sys
from pathlib import Path

import pytest

from archipel.bench.site import SiteFailed
from archipel.cli.recipes import find_recipe
from archipel.demo.control import Control, as_long_as_rl
from archipel.records.recipe import recipe_from_canonical

RECIPE = find_recipe("secret-order")
DONE = 217


def test_the_control_has_as_many_sequences_as_rl_and_none_that_was_seen() -> None:
    longer, section = as_long_as_rl(RECIPE, DONE), RECIPE.supervised
    assert section is not None
    run = RECIPE.run
    sequences = run.versions * run.groups_per_update * run.group_size
    assert longer.steps * section.batch_size == sequences
    assert longer.first_example == DONE * section.batch_size
    assert longer.recipe.supervised is not None
    assert longer.recipe.supervised.gate is None, "nothing ends it earlier"
    same = {"supervised": section}
    assert longer.recipe.model_copy(update=same) == RECIPE, "nothing else is other"


def test_it_is_told_what_learns_and_where_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\nfor word; do echo $word; done\nenv >{tmp_path}/env\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    longer = as_long_as_rl(RECIPE, DONE)
    with Control(tmp_path, {"NAME": "value"}, 30.0) as control:
        control.begin(longer, tmp_path / "start")
        assert control.finished(lambda line: None) == tmp_path / "more-supervised"
    recipe = tmp_path / "control.recipe"
    assert recipe_from_canonical(recipe.read_bytes()).digest == longer.recipe.digest
    told = (tmp_path / "control.out").read_text().split()
    places = [str(tmp_path / name) for name in ("control.recipe", "start", "more-supervised")]
    assert told == ["-m", "archipel.demo.control", *places, str(longer.first_example)]
    assert "NAME=value" in (tmp_path / "env").read_text()


@pytest.mark.parametrize(
    ("does", "limit_s", "why"),
    [("echo broken; exit 3", 30.0, "ended with 3: broken"), ("sleep 60", 0.1, "has no end after")],
)
def test_a_control_that_fails_or_hangs_is_told_and_ends_with_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, limit_s: float, why: str
) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    with Control(tmp_path, {"PATH": "/usr/bin:/bin"}, limit_s) as control:
        control.begin(as_long_as_rl(RECIPE, DONE), tmp_path)
        with pytest.raises(SiteFailed, match=why):
            control.finished(lambda line: None)
    assert control._process is not None
    assert control._process.returncode is not None
