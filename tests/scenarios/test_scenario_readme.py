"""README's "Use it", as a newcomer types it: from a clean home to a finished run and a replayed ledger."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from newcomer import Newcomer, is_open, until
from tiny import tiny_recipe

README = Path(__file__).parents[2] / "README.md"
PORT = 8440
LIMIT_S = 240.0
NEEDS_THE_LAB_S = 60.0
NOT_TYPED = {
    "lab gc": "while the lab is stopped",
    "serve pool": "waits for other devices",
    "answer verify": "needs an answer that a client kept",
    "operator login": "needs somebody at a browser",
}
"""And why not, or not in this order."""


def toml(values: dict[str, Any], prefix: str = "") -> str:
    """A recipe as people write it."""
    plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items() if value is not None]
    parts = [f"[{prefix}]\n" * bool(prefix) + "\n".join(lines)]
    for key, value in values.items():
        if isinstance(value, dict):
            parts.append(toml(value, f"{prefix}.{key}" if prefix else key))
    return "\n".join(parts)


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    person = Newcomer(tmp_path)
    yield person
    person.presses_ctrl_c()


def lines_of_use_it() -> list[str]:
    text = README.read_text("utf-8").partition("## Use it")[2]
    (block, *_) = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    return [line for line in block.splitlines() if line.startswith("archipel ")]


@pytest.mark.slow
@pytest.mark.timeout(600)  # every command of the page
def test_use_it_in_the_readme_works_from_a_clean_home_to_the_end(
    newcomer: Newcomer, tmp_path: Path
) -> None:
    if is_open(PORT):
        pytest.skip(f"port {PORT}, which the page names, is taken on this machine")
    (tmp_path / "mine.toml").write_text(toml(tiny_recipe(2, 0).model_dump(mode="json")))
    newcomer.types("archipel sft mine.toml --out demo")
    lines = lines_of_use_it()
    assert len(lines) >= 7
    for line in lines:
        meant = line.replace("RECIPE", "mine.toml")
        meant = meant.replace("runs/demo-SEED/trained", "demo")
        meant = (
            meant.replace("MODEL", "demo")
            .replace("NAME", "tiny")
            .replace("URL", f"http://127.0.0.1:{PORT}")
        )
        if not any(each in meant for each in NOT_TYPED):
            newcomer.types(meant, answers="ab=\n" if " chat " in meant else "")
        if "lab start" in meant:
            until(lambda: is_open(PORT), NEEDS_THE_LAB_S)
        if "run open" in meant:
            until(lambda: "complete" in newcomer.types("archipel run list"), LIMIT_S)
    assert "all hold" in newcomer.types("archipel ledger verify")
    newcomer.types("archipel run export tiny --out trained")
    assert [each for each in newcomer.ended() if "'run', 'watch'" not in each] == []
    newcomer.presses_ctrl_c()
    newcomer.types("archipel lab gc")
