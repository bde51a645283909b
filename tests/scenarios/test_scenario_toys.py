"""A kind of work and a programme that the package does not have, from recipe to settlement.

`tests/toys` holds their files and rows; they are laid over a copy of the source tree, and nothing else of
it is touched. Real processes: a lab, a node and its confined child, the command line.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import archipel
from archipel.bench.site import Site

TOYS = Path(__file__).parents[1] / "toys"
SOURCE = Path(archipel.__file__).parent
RECIPE = '[run]\nname = "sums"\nprogramme = "tally"\nenough = 40\nprice_micro = 7\n'
LIMIT_S = 120.0


def rows() -> list[tuple[str, str, str, str]]:
    """(file, the line that opens the table, rows, import)."""
    lines = (TOYS / "rows.txt").read_text().splitlines()
    return [tuple(re.split(r"\s{2,}", line)) for line in lines]  # type: ignore[misc]  # four columns


def lay_over(target: Path) -> Path:
    """The source tree with the toys' files and rows; returns what PYTHONPATH has to say."""
    package = target / "archipel"
    # What is compiled stays compiled: times travel along; a file that is just being written does not.
    shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("*.pyc.*"))
    for room in ("records", "lab", "work"):
        for file in (TOYS / room).glob("*.py"):
            what, name = file.stem.split("_")
            shutil.copy(file, package / room / f"{what}s" / f"{name}.py")
    for place, opening, added, importing in rows():
        text = (package / place).read_text()
        assert text.count(opening) == 1, place
        text = text.replace(opening, opening + added)
        if importing != "-":
            text = text.replace("\nfrom archipel", f"\n{importing}\nfrom archipel", 1)
        (package / place).write_text(text)
    return target


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One copy, laid and compiled once; whoever changes it puts it back."""
    return lay_over(tmp_path_factory.mktemp("toys") / "tree")


@contextmanager
def written(file: Path, text: str) -> Iterator[None]:
    """What a file of the copy says for a while. A time of change of its own: what was compiled of it is not believed."""
    before, times = file.read_text(), file.stat()
    file.write_text(text)
    try:
        yield
    finally:
        file.write_text(before)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def environment(path: Path) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "PYTHONPATH": str(path),
        "OMP_NUM_THREADS": "1",
        "ARCHIPEL_HOME": str(path.parent / "home"),
    }


def python(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment(path),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


@pytest.mark.slow
def test_a_kind_and_a_programme_of_three_files_and_rows_go_from_recipe_to_settlement(
    tmp_path: Path, start: Path, tree: Path
) -> None:
    (tmp_path / "sums.toml").write_text(RECIPE)
    with Site(tmp_path / "site", environment(tree)) as site:
        site.start_lab()
        operator, node = site.home("lab") / "operator.key", site.start_node("node")
        trusted = site.start_update("update", ["--any-recipe"])
        opened = python(
            tree, "-m", "archipel.cli.archipel", "run", "open", str(tmp_path / "sums.toml"),
            "--weights", str(start), "--lab", site.url, "--key", str(operator), "--trust", trusted,
            "--json",
        )  # fmt: skip
        assert opened.returncode == 0, opened.stderr
        site.wait_until(
            lambda: (
                (site.get("/runs/sums") or {}).get("phase") == "complete"
                and site.get("/runs/sums")["progress"]["greeting"] != ""
                and site.get("/runs/sums")["evaluations"]
            ),
            "the sums",
            LIMIT_S,
        )
        shown = site.get("/runs/sums")
        assert shown["programme"] == "tally"
        assert shown["progress"] == {"total": 78, "greeting": "hello sums"}
        assert shown["spent_micro"] == 3 * 3 * 7 + 11
        assert shown["evaluations"] == [{"version": 0, "counted": 5, "enough": 40}]
        site.interrupt("update")
        site.interrupt("node")
        site.interrupt("lab")
    replayed = python(
        tree, "-m", "archipel.cli.archipel", "ledger", "verify",
        "--home", str(tmp_path / "site" / "lab"), "--json",
    )  # fmt: skip
    assert replayed.returncode == 0, replayed.stderr
    balances = json.loads(replayed.stdout)["balances_micro"]
    assert balances[node] == 3 * 3 * 7 + 11
    assert sum(balances.values()) == 0


PLACES = list(dict.fromkeys(row[0] for row in rows()))


@pytest.mark.parametrize(
    "place", [PLACES[0], *(pytest.param(each, marks=pytest.mark.slow) for each in PLACES[1:])]
)
def test_a_row_that_is_forgotten_is_an_error_at_import(tree: Path, place: str) -> None:
    modules = (
        "archipel.lab.kinds, archipel.lab.programmes, archipel.work.kinds, archipel.work.programmes"
    )
    with written(tree / "archipel" / place, (SOURCE / place).read_text()):
        done = python(tree, "-c", f"import {modules}")
    assert done.returncode != 0
    assert re.search(r"TypeError|ImportError", done.stderr), done.stderr


def test_a_rule_that_is_forgotten_is_an_error_at_import(tree: Path) -> None:
    for room, rule in (("lab", "    price_micro="), ("records", "    needs=")):
        file = tree / "archipel" / room / "kinds" / "add.py"
        kept = "".join(x for x in file.read_text().splitlines(True) if not x.startswith(rule))
        with written(file, kept):
            done = python(tree, "-c", f"import archipel.{room}.kinds")
        assert done.returncode != 0
        assert "TypeError" in done.stderr
        assert rule.strip(" =") in done.stderr


def test_the_copy_with_the_toys_keeps_every_law_of_the_tables(tree: Path) -> None:
    done = python(
        tree,
        "-c",
        "from archipel.lab.kinds import RULES_OF; from archipel.work.kinds import RUNS;"
        "from archipel.records.kinds import WORDS_OF; import sys;"
        "assert RULES_OF.keys() == WORDS_OF.keys() == set(RUNS) >= {'add', 'greet', 'rollout'};"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules",
    )
    assert done.returncode == 0, done.stderr
