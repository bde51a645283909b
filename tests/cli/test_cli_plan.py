"""`archipel plan` at the door: five ways to see an answer, and mistakes that end as one sentence."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from archipel.cli.archipel import command, run
from archipel.cli.recipes import find_recipe
from archipel.planning.asking import again


def _plan(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["plan", *arguments], catch_exceptions=False)


def test_a_question_loads_no_tensor_library_and_draws_only_when_asked() -> None:
    code = (
        "import sys; from archipel.cli.archipel import command\n"
        "command.main(['plan', 'lab', '--brief'], standalone_mode=False)\n"
        "print([n for n in ('torch', 'matplotlib', 'fastapi', 'httpx') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_alone_it_prints_one_useful_screen() -> None:
    shown = _plan()
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    assert 20 <= len(lines) <= 50
    for question in ("train", "decentralise", "lab", "serve", "meek", "claims"):
        assert f"archipel plan {question}" in shown.output


def test_data_for_machines_has_units_intervals_and_sources() -> None:
    found = json.loads(_plan("lab", "--json", "--samples", "50").output)
    row = found["quantities"]["purchase.h100"]
    assert row["unit"] == "USD/accelerator"
    assert row["source"]["title"]
    assert row["low"] < row["value"] < row["high"]
    assert found["matters"]["lab.purchase"][0]["input"] == "purchase.h100"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "begins"), [("p.png", b"\x89PNG"), ("p.svg", b"<?xml")])
def test_a_picture_is_written(tmp_path: Path, name: str, begins: bytes) -> None:
    shown = _plan("lab", "--brief", "--samples", "50", "--plot", str(tmp_path / name))
    assert shown.exit_code == 0, shown.output
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_a_number_explains_itself_down_to_its_sources() -> None:
    text = _plan("lab", "--explain", "lab.cost_per_hour").output
    for expected in ("lab.cost_per_hour = $", "lab.ownership / lab.hours", "Sources", "https://"):
        assert expected in text


def test_a_persons_own_table_changes_the_answer(tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text(
        '[purchase.h100]\nvalue = 1\nunit = "USD/accelerator"\nkind = "measured"\n'
        'source = "a gift"\n'
    )
    found = json.loads(
        _plan("lab", "--kind", "h100", "--table", str(own), "--json", "--samples", "50").output
    )
    assert found["quantities"]["lab.accelerators_cost"]["value"] == pytest.approx(7250)
    assert found["quantities"]["purchase.h100"]["source"]["title"] == "a gift"


def test_a_saved_plan_of_a_config_needs_no_file_to_be_asked_again(tmp_path: Path) -> None:
    config, saved = tmp_path / "config.json", tmp_path / "plan.json"
    shape = {
        "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "use_cache": True,
    }  # fmt: skip
    config.write_text(json.dumps(shape))
    first = _plan("serve", "--config", str(config), "--save", str(saved), "--samples", "20")
    assert first.exit_code == 0, first.output
    config.unlink()
    found = json.loads(saved.read_text())
    asked = found["ask"]
    assert "use_cache" not in asked["request"]["config"]
    assert again(asked, "saved").data()["verdict"] == found["verdict"]


def test_a_saved_plan_holds_what_was_asked(tmp_path: Path) -> None:
    saved = tmp_path / "lab.json"
    _plan("lab", "--accelerators", "64", "--samples", "50", "--save", str(saved))
    found = json.loads(saved.read_text())
    assert found["ask"]["request"] == {"accelerators": "64"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["lab", "--kind", "h10"], "did you mean 'h100'"),
        (["lab", "--accelerators", "5 kW"], "expected a count such as 10000"),
        (["lab", "--set", "pue"], "expected NAME=AMOUNT"),
        (["lab", "--set", "purchase.h10=2"], "did you mean 'purchase.h100'"),
        (["lab", "--table", "nowhere.toml"], "cannot read nowhere.toml"),
        (["serve", "--config", "nowhere.json"], "cannot read nowhere.json"),
        (["lab", "--plot", "picture.gif"], "ending in .png or .svg"),
        (["lab", "--plot", "/nowhere/picture.png", "--samples", "50"], "cannot write"),
        (["lab", "--explain", "lab.costs"], "did you mean"),
        (["lab", "--as-of", "spring"], "expected a date such as 2025-03"),
        (["lab", "--samples", "0"], "expected 1 to"),
        (["constants", "rentl"], "did you mean 'rental'"),
        (["tran"], "Did you mean 'train'?"),
        (["lab", "--table", "/dev/zero"], "not a file"),
        (["lab", "--table", "."], "not a file"),
        (["lab", "--explain", ""], "unknown quantity"),
        (["lab", "--explain", "lab.purchase", "--plot", "x.png"], "drop --plot"),
        (["lab", "--as-of", "2025-13"], "expected a date such as 2025-03"),
        (["lab", "--kind", "x" * 10_000], "unknown accelerator"),
        (["compare", "lab --help", "lab"], "No such option"),
        (["compare", "lab --samples 0", "lab"], "expected 1 to"),
    ],
)
def test_mistakes_end_as_one_sentence(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["plan", *arguments])
    text = capsys.readouterr().err
    assert ended.value.code != 0
    assert expected in text
    assert "Traceback" not in text
    assert len(text.splitlines()) <= 4
    assert len(text) < 2000


def test_constants_are_listed_in_every_vintage_with_their_source() -> None:
    text = _plan("constants", "rental.h100").output
    assert text.count("rental.h100 ") >= 4
    rows = json.loads(_plan("constants", "rental.h100", "--json").output)
    assert [row["vintage"] for row in rows] == sorted(row["vintage"] for row in rows)


def test_a_budget_becomes_a_recipe_that_a_run_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "planned.toml"
    shown = _plan("recipe", "--budget", "200 USD", "--groups", "32", "--out", str(out))
    assert shown.exit_code == 0, shown.output
    recipe = find_recipe(str(out))
    assert recipe.run.name == "gsm8k-planned"
    assert recipe.run.groups_per_update == 32
    assert recipe.environment == find_recipe("gsm8k").environment
    assert "200 USD" in out.read_text()


def test_twice_the_budget_buys_twice_the_versions() -> None:
    once, twice = (
        json.loads(_plan("recipe", "--budget", budget, "--json").output)["versions"]
        for budget in ("100 USD", "200 USD")
    )
    assert twice == pytest.approx(2 * once, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--base", "gsm9k"], "did you mean 'gsm8k'"),
        (["--budget", "5 kW"], "--budget: got '5 kW'"),
        (["--budget", "0.000001 USD"], "give more"),
        (["--accelerator", "h10"], "did you mean 'h100'"),
    ],
)
def test_a_recipe_that_cannot_be_planned_says_why(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(["plan", "recipe", *arguments])
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    "encoding",
    [
        *("ascii", "utf-8"),
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("cp1252", "latin-1")),
    ],
)
def test_output_fits_whatever_the_terminal_can_show(encoding: str) -> None:
    code = "from archipel.cli.archipel import run; run(['plan', 'lab', '--samples', '50'])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=60,
        env={"PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"to build the lab" in done.stdout


def test_a_derivation_is_data_too() -> None:
    found = json.loads(_plan("lab", "--explain", "power.average", "--json").output)
    assert list(found)[-1] == "power.average"
    assert "power.pue.colocation" in found
