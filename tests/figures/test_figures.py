"""The README's figures can be made again by the commands beside them."""

from pathlib import Path

import pytest
from click import Argument, Command, Context, Group
from click.testing import CliRunner

from archipel.cli.archipel import command as root
from figures.rows import Row, argv_of, rows_of
from figures.session import alone, session, sit

ROWS = rows_of((Path(__file__).parents[2] / "README.md").read_text())


def test_every_figure_names_a_command_that_there_is() -> None:
    for row in ROWS:
        for command in row.commands:
            words = command.split()
            if words[0] == "archipel":
                found, rest = _found(words[1:])
                needed = [
                    each for each in found.params if isinstance(each, Argument) and each.required
                ]
                assert len([word for word in rest if not word.startswith("--")]) >= len(needed), (
                    command
                )


def test_every_bench_has_a_short_form_and_one_for_machines() -> None:
    assert isinstance(root, Group)
    benches = root.get_command(Context(root), "bench")
    assert isinstance(benches, Group)
    names = benches.list_commands(Context(benches))
    assert len(names) > 30, "all of them"
    for name in names:
        _found(["bench", name, "--quick", "--json"])


def _found(words: list[str]) -> tuple[Command, list[str]]:
    """The command, and what is said to it: options of its own."""
    at: Command | None = root
    while isinstance(at, Group):
        at, words = at.get_command(Context(at), words[0]), words[1:]
    assert at is not None, words
    options = {name for parameter in at.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options, words
    return at, words


def test_a_command_without_its_program_is_the_houses() -> None:
    readme = "x\n## Measured\n\n| a | b | c |\n|---|---|---|\n| it | 3 \\| 4 | `archipel bench cascade`, `bench pool` |\n\n## On\n"
    assert rows_of(readme) == [
        Row("it", "3 \\| 4", ("archipel bench cascade", "archipel bench pool"))
    ]


@pytest.mark.parametrize("row", ["| it | 3 |", "| it | 3 | by hand |"])
def test_a_row_that_nobody_could_check_is_refused(row: str) -> None:
    with pytest.raises(ValueError, match="row"):
        rows_of(f"x\n## Measured\n| a | b | c |\n|---|---|---|\n{row}\n")


def test_a_blank_is_filled_or_the_command_is_left_out() -> None:
    assert argv_of("archipel demo --seed N", {}, quick=True) is None
    filled = argv_of("archipel demo --seed N", {"N": "3"}, quick=True)
    assert filled is not None
    assert filled[-2:] == ["--seed", "3"]


@pytest.fixture
def under_make(monkeypatch: pytest.MonkeyPatch) -> None:
    """As below `make figures OUT=theirs`, which hands its own words on to every make that it starts."""
    monkeypatch.setenv("MAKELEVEL", "1")
    monkeypatch.setenv("MAKEFLAGS", "w -- OUT=theirs")


@pytest.mark.usefixtures("under_make")
def test_what_is_over_is_not_run_again_and_what_takes_too_long_is_ended(tmp_path: Path) -> None:
    again = tmp_path / "again"
    makefile = f"OUT = own\nagain:\n\t@echo x >> {again}; echo seen $(OUT)\n"
    (tmp_path / "Makefile").write_text(makefile)
    rows = [Row("it", "1", (f"make -f {tmp_path / 'Makefile'} again",))]
    first = sit(rows, tmp_path / "kept", {}, quick=False, limit_s=60)
    assert first == sit(rows, tmp_path / "kept", {}, quick=False, limit_s=60)
    assert first[0]["exit"] == 0
    assert again.read_text() == "x\n"
    assert (Path(str(first[0]["in"])) / "out").read_text() == "seen own\n"
    (tmp_path / "Makefile").write_text("again:\n\t@exec sleep 600\n")
    late = sit(rows, tmp_path / "late", {}, quick=False, limit_s=0.2)
    assert late[0]["exit"] == -1
    assert "not over" in str(late[0]["why"])


def test_two_sittings_never_share_a_folder(tmp_path: Path) -> None:
    with alone(tmp_path):
        said = CliRunner().invoke(session, ["--out", str(tmp_path), "--only", "nothing"])
    assert said.exit_code == 1
    assert "another sitting writes" in said.output
    assert CliRunner().invoke(session, ["--out", str(tmp_path), "--only", "nothing"]).exit_code == 0


def test_a_blank_of_another_name_is_refused_with_a_sentence(tmp_path: Path) -> None:
    said = CliRunner().invoke(session, ["--out", str(tmp_path), "--set", "SEED=3"])
    assert said.exit_code == 2
    assert "expected one of N" in said.output
