"""A run by real processes, looked at by a stranger with nothing but the lab's address, and by one with the secret."""

import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from archipel.cli.archipel import run
from stage import Stage
from tiny import NAME

VERSIONS = 4


def _verified(*arguments: str) -> dict[str, object]:
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()), pytest.raises(SystemExit) as ended:
        run(["run", "verify", NAME, "--json", *arguments])
    assert ended.value.code == 0, out.getvalue()
    told: dict[str, object] = json.loads(out.getvalue())
    assert told["faults"] == []
    return told


@pytest.mark.slow
def test_a_run_holds_from_its_address_and_its_updates_are_made_again_bit_for_bit(
    make_stage: Callable[..., Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path / "stranger"))
    stage = make_stage(VERSIONS, 1)
    stage.open()
    stage.site.start_node("only")
    stage.wait_for_version(VERSIONS)
    stage.wait(lambda: len(stage.site.run(NAME).evaluations) == 2, "the evaluations")  # type: ignore[union-attr]  # it is there
    shown = _verified("--lab", stage.site.url)
    assert shown["checked"]["versions from their delta"] == VERSIONS  # type: ignore[index]  # JSON
    secret = stage.site.home("update") / "secrets" / "secret-order"
    home = str(stage.site.home("lab"))
    made = _verified("--home", home, "--secret-file", str(secret), "--updates", "all")
    assert made["checked"]["versions' rewards"] == VERSIONS  # type: ignore[index]  # JSON
    assert made["checked"]["updates made again"] == VERSIONS  # type: ignore[index]  # JSON
    assert made["checked"]["evaluations made again"] == 1  # type: ignore[index]  # JSON
    stage.finished()
