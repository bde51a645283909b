"""`archipel run`: what opening a run says and approves, and what the live view shows."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from archipel.cli.archipel import command, run
from archipel.cli.recipes import find_any_recipe, find_recipe
from archipel.cli.run_open import trusted_keys
from archipel.cli.run_verify import _digests_of
from archipel.cli.watching import Scene, picture
from archipel.identity import Identity
from archipel.model.config import DecoderConfig
from archipel.model.directory import write_model
from archipel.model.network import random_weights
from archipel.model.tokenizer import character_tokenizer
from archipel.node.approvals import is_approved
from archipel.records.documents import RunView, Wait
from archipel.records.exact import CONTRACTS
from archipel.records.kinds import STRANGERS, TRUSTED_ROLE, WORDS_OF
from archipel.records.recipe import Recipe
from tiny import tiny_recipe

RECIPE = """
[run]
name = "mine"
versions = 3
checkpoint_every = 7
[environment]
name = "secret_order"
secret = "mine"
"""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    tokenizer = character_tokenizer()
    config = DecoderConfig.from_section(tiny_recipe(1, 0).model, tokenizer)
    write_model(tmp_path / "weights", random_weights(config, 0), config, tokenizer)
    return tmp_path / "weights"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_dry_run_shows_what_the_lab_would_be_told_and_touches_nothing(
    tmp_path: Path, weights: Path, home: Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(RECIPE)
    arguments = ["run", "open", str(file), "--weights", str(weights), "--dry-run", "--unchecked"]
    shown = CliRunner().invoke(command, arguments, catch_exceptions=False)
    told = json.loads(shown.stdout)
    recipe = find_any_recipe(str(file))
    assert isinstance(recipe, Recipe)
    assert recipe == find_recipe(str(file))
    assert (
        told["recipe"]["sampling"] | {"engine": "any", "variant": None}
        == told["recipe"]["sampling"]
    )
    assert "sampled by any engine: the model has 0.0 million parameters" in shown.stderr
    assert told["digest"] == recipe.digest
    assert told["terms"]["checkpoint_every"] == 7
    assert told["pace"]["programme"] == "rl"
    tokenizer = character_tokenizer()
    assert told["pace"]["vocab_size"] == tokenizer.vocab_size
    assert told["pace"]["stop_tokens"] == [tokenizer.eos_id]
    assert not home.exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[run]\nname = 'x'\nprogramme = 'alchemy'", "run.programme is 'alchemy'"),
        ("[run]\nname = 'x'", "versions"),
        ("[run", "not valid TOML"),
    ],
)
def test_a_recipe_that_is_none_ends_as_one_sentence(
    tmp_path: Path, weights: Path, text: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(SystemExit) as ended:
        run(["run", "open", str(file), "--weights", str(weights), "--dry-run"])
    assert ended.value.code == 1
    assert expected in capsys.readouterr().err


def test_opening_approves_the_recipe_here_only_if_this_machine_istrusted_keys(home: Path) -> None:
    mine, other = find_recipe("secret-order").digest, find_recipe("reasoning-gym").digest
    stranger = Identity.from_seed(bytes(32)).did
    assert trusted_keys(other, (stranger,)) == (stranger,)
    (own,) = trusted_keys(mine, ())
    assert own == Identity.load(home / "update" / "node.key").did
    assert is_approved(home / "update", mine)
    assert not is_approved(home / "update", other)
    assert trusted_keys(other, (stranger, own)) == (stranger, own)
    assert is_approved(home / "update", other)


def test_who_approves_a_recipe_that_leaves_the_engine_open_approves_however_it_is_opened(
    home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(RECIPE)
    recipe = find_recipe(str(file))
    run_ = CliRunner().invoke(command, ["update", "approve", str(file)], catch_exceptions=False)
    assert recipe.digest in run_.output
    assert len(_digests_of(str(file))) == 1 + len(CONTRACTS)
    for variant in (None, "w7a8", "w13a15"):
        assert is_approved(home / "update", recipe.by_variant(variant).digest)
    file.write_text(RECIPE + '[sampling]\nengine = "exact"\nvariant = "w7a8"\n')
    stated = find_recipe(str(file))
    assert stated.openings == (stated,)
    assert _digests_of(str(file)) == (stated.digest,)


def test_opening_takes_the_trusted_role_of_another_folder_and_leaves_the_usual_one_alone(
    tmp_path: Path, weights: Path, home: Path
) -> None:
    role, file = tmp_path / "role", tmp_path / "mine.toml"
    (own,) = trusted_keys(find_recipe("secret-order").digest, (), role)
    assert own == Identity.load(role / "node.key").did
    assert is_approved(role, find_recipe("secret-order").digest)
    file.write_text(RECIPE)
    words = ("run", "open", str(file), "--weights", str(weights), "--home", str(role))
    assert CliRunner().invoke(command, [*words, "--dry-run", "--unchecked"]).exit_code == 0
    refused = CliRunner().invoke(command, [*words, "--dry-run"]).exception
    assert f"put yours into {role}/secrets/" in str(refused)
    assert not home.exists()


def test_every_kind_is_offered_by_one_of_the_two_commands_and_audits_by_both(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    offered = []
    monkeypatch.setattr(
        "archipel.cli.agents.run_agent",
        lambda settings, port, quiet: offered.append(settings.kinds),
    )
    for name in ("node", "update"):
        arguments = [name, "join", "http://127.0.0.1:9"]
        assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    assert offered == [STRANGERS, TRUSTED_ROLE]
    assert set(offered[0] + offered[1]) == set(WORDS_OF)
    assert set(offered[0]) & set(offered[1]) == {"audit"}


def test_the_live_view_shows_whatever_a_programme_counts() -> None:
    view = RunView(
        run="mine",
        programme="rl",
        phase="running",
        version=2,
        versions=3,
        recipe="sha256:0",
        opened_at_ms=0,
        published_at_ms=(1,),
        learner_utilisation=0.5,
        reward=0.25,
        rewards=(0.125, 0.25),
        evaluations=(),
        spent_micro=1_500_000,
        progress={"groups_in_flight": 12, "staleness": {"0": 3, "1": 4}, "rounds": 7},
    )
    wait = Wait(run="mine", waiting_for="groups", owner="nobody", left_s=None, advice="wait")
    console = Console(width=120)
    with console.capture() as captured:
        console.print(picture(Scene([view], [], [wait]), 120, 40))
    shown = captured.get()
    for words in ("2/3", "50%", "1.5000", "groups in flight 12", "staleness 0:3 1:4", "rounds 7"):
        assert words in shown
    assert "waiting: groups" in shown
