"""Who and what shaped the weights of a release: counted as the ledger has it, each line with entries that prove it."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as Tree
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from archipel.cli.archipel import command, run
from archipel.lab.entry import read_entry
from archipel.model.tokenizer import Tokenizer
from archipel.records.canonical import canonical_json
from archipel.records.recipe import Recipe
from archipel.records.rollouts import Rollout
from archipel.records.statements import WorkAnswered
from archipel.release.hearing import rollouts
from archipel.release.index import Parent
from archipel.release.oms.folder import sign_folder
from archipel.release.oms.key import SigningKey
from archipel.release.papers.slsa import STATE
from archipel.release.trace.gradient import GradedGroup, weights
from archipel.release.trace.learned import learned_of
from archipel.release.trace.lineage import kin_of, lineage_of
from archipel.release.trace.shares import shares_of
from archipel.release.trace.told import Told, Untraceable, look
from archipel.release.verify.report import Expected
from archipel.training.advantages import advantages_of
from archipel.training.batch import Group
from releases import spoilt
from releasing import VERSIONS
from tiny import BATCH, tiny_recipe

SIGNER = SigningKey.from_scalar(11)


def told_of(folder: Path) -> Told:
    return look(folder, Expected(), lambda where: None)


def said(*arguments: str) -> str:
    ended = CliRunner().invoke(command, ["trace", *arguments])
    assert ended.exit_code == 0, ended.output
    return ended.output


def refused(*arguments: str, code: int = 1) -> str:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        run(["trace", *arguments])
    assert ended.value.code == code, err.getvalue()
    assert "Traceback" not in err.getvalue()
    return err.getvalue()


@pytest.fixture(scope="module")
def told(site: Path) -> Told:
    return told_of(site / "bundle")


@pytest.fixture
def bundle(site: Path, tmp_path: Path) -> Path:
    """One's own, to change."""
    return Path(shutil.copytree(site / "bundle", tmp_path / "bundle"))


def test_shares_are_of_everything_that_was_learned_from_and_add_up(told: Told) -> None:
    shares = shares_of(told, None)
    standing = list(rollouts(told.heard.story))
    assert shares.groups == VERSIONS * BATCH
    assert shares.tokens == sum(answer.num_tokens for _, _, answer in standing)
    for kind in ("operator", "machine"):
        lines = shares.of(kind)  # type: ignore[arg-type]
        assert len(lines) == 2
        assert sum(each.groups or 0 for each in lines) == shares.groups
        assert sum(each.tokens or 0 for each in lines) == shares.tokens
        assert all(each.weight is None for each in lines), "no rewards, no weights"


def test_every_entry_of_a_line_says_what_the_line_says(told: Told) -> None:
    for line in shares_of(told, None).of("machine"):
        tokens = 0
        for index in line.entries:
            answered = statement_at(told, index)
            assert answered.author == line.name
            tokens += answered.answer.num_tokens  # type: ignore[union-attr]
        assert tokens == line.tokens
    (trusted,) = shares_of(told, None).of("trusted key")
    assert len(trusted.entries) == VERSIONS + 1
    assert all(statement_at(told, each).author == trusted.name for each in trusted.entries)


def statement_at(told: Told, index: int) -> WorkAnswered:
    statement = read_entry(told.mirror.entry(index)).statement
    assert isinstance(statement, WorkAnswered)
    return statement


def test_what_no_version_was_made_from_is_not_counted(site: Path) -> None:
    """As in a run that is released before its end: results lie there that nothing has learned from."""
    told = told_of(site / "bundle")
    whole = shares_of(told, None)
    told.heard.story.updates.pop()
    part = shares_of(told, None)
    assert part.groups == (VERSIONS - 1) * BATCH < whole.groups
    made = {group for version in range(1, VERSIONS) for group in told.heard.story.batch(version)}
    tokens = 0
    for each in told.heard.story.results.values():
        found = told.rollouts(each)
        assert found is not None
        tokens += sum(len(one.tokens) for group in made & found.keys() for one in found[group])
    assert part.tokens == tokens < whole.tokens


def test_weights_are_given_to_whoever_sampled_the_groups(told: Told) -> None:
    learned = list(learned_of(told))
    groups = [group for each in learned for _, group in each.groups]
    own = {group: number / sum(range(len(groups))) for number, group in enumerate(sorted(groups))}
    shares = shares_of(told, own)
    for line in shares.of("machine"):
        mine = {g for each in learned if each.author == line.name for _, g in each.groups}
        assert line.weight == pytest.approx(sum(own[group] for group in mine))
    assert sum(line.weight or 0 for line in shares.of("operator")) == pytest.approx(1)


def graded(index: int, rewards: tuple[float, ...], lengths: tuple[int, ...]) -> GradedGroup:
    return GradedGroup(index, rewards, lengths, lengths)


def recipe_with(**changed: dict[str, Any]) -> Recipe:
    fields = tiny_recipe(2, 0).model_dump()
    for name, more in changed.items():
        fields[name] = (fields[name] or {}) | more
    return Recipe.model_validate(fields)


@pytest.mark.parametrize("name", ["grpo", "rloo", "reinforce", "reinforce_group"])
@pytest.mark.parametrize("mean_over", ["tokens", "sequences", "constant"])
def test_a_group_weighs_as_the_learners_own_advantages_have_it(name: str, mean_over: str) -> None:
    recipe = recipe_with(
        algorithm={"name": name}, loss={"name": "ppo_clip", "mean_over": mean_over}
    )
    groups = [
        graded(0, (1.0, 0.0, 0.0), (2, 5, 1)),
        graded(1, (1.0, 1.0, 1.0), (3, 3, 3)),
        graded(2, (0.5, 0.0, 1.0), (1, 1, 4)),
    ]
    made = [
        Group(
            index=each.index,
            policy_version=0,
            prompt=(1,),
            rollouts=tuple(Rollout((1,) * n, (-1.0,) * n, True) for n in each.lengths),
            rewards=each.rewards,
        )
        for each in groups
    ]
    sums = [
        sum(abs(a) * (1 if mean_over == "sequences" else n) for a, n in zip(own, each.lengths, strict=True))
        for each, own in zip(groups, advantages_of(made, recipe), strict=True)
    ]  # fmt: skip
    found = weights({1: groups}, recipe)
    assert [found[each.index] for each in groups] == pytest.approx([s / sum(sums) for s in sums])
    if name != "reinforce":
        assert found[1] == 0, "all of its rewards are equal"


def test_updates_count_alike_and_one_without_a_gradient_not_at_all() -> None:
    dull = [graded(4, (0.0, 0.0), (1, 1)), graded(5, (1.0, 1.0), (9, 9))]
    small, large = graded(0, (1.0, 0.0), (1, 1)), graded(1, (1.0, 0.0), (50, 50))
    found = weights({1: [small], 2: [large], 3: dull}, recipe_with())
    assert found == {0: 0.5, 1: 0.5, 4: 0.0, 5: 0.0}
    assert weights({3: dull}, recipe_with()) == {4: 0.0, 5: 0.0}


def test_where_rewards_do_not_tell_the_weights_it_is_said() -> None:
    for changed in (
        {"teacher": {"path": "teacher"}},
        {"algorithm": {"part_weights": {"form": 1.0}, "scale_by_std": True}},
    ):
        with pytest.raises(ValueError, match="rewards"):
            weights({}, recipe_with(**changed))


def test_proofs_are_checked_by_the_public_command(site: Path, tmp_path: Path) -> None:
    facts = json.loads(said(str(site / "bundle"), "--proofs", str(tmp_path / "proofs"), "--json"))
    named = {entry for line in facts["shares"]["lines"] for entry in line["entries"]}
    found = sorted((tmp_path / "proofs").glob("*.tlog-proof"))
    assert {int(path.stem) for path in found} == named
    assert facts["proofs"] == len(named)
    checked = CliRunner().invoke(
        command,
        [
            "ledger",
            "check-proof",
            str(found[0]),
            str(found[0].with_suffix(".entry")),
            "--expect",
            facts["lab"],
        ],
    )
    assert checked.exit_code == 0, checked.output


def signed_again(folder: Path, **index: object) -> None:
    """By somebody who may, after a change; index: what its index says now."""
    fields = json.loads((folder / "release.json").read_bytes())
    (folder / "release.json").write_bytes(canonical_json(fields | index))
    (folder / "release.voucher").unlink(missing_ok=True)
    (folder / "release.pem").write_bytes(SIGNER.public.pem)
    (folder / "release.sig").unlink()
    (folder / "release.sig").write_bytes(sign_folder(folder, "m", SIGNER, "release.sig"))


def with_parents(folder: Path, *parents: Parent) -> Told:
    """As if it had been made from them: its index names them, and the statement of its first stage."""
    start = folder / "provenance" / "start.json"
    statement = json.loads(start.read_bytes())
    given = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    common = next(at for at, each in enumerate(given, 1) if each["name"] == "environment")
    given[common:common] = [
        {"name": f"{each.relation} {each.name}", "digest": {STATE: each.weights[7:]}}
        for each in parents
    ]
    start.write_bytes(canonical_json(statement))
    start.with_suffix(".dsse.json").unlink(missing_ok=True)
    signed_again(folder, parents=[each.model_dump(mode="json") for each in parents])
    return told_of(folder)


def named(told: Told, **changed: object) -> Parent:
    own = hashlib.sha256((told.folder / "release.json").read_bytes()).hexdigest()
    fields = {
        "relation": "fine-tuned from",
        "name": "base",
        "weights": told.index.weights,
        "release": f"sha256:{own}",
        "licence": "MIT",
    }
    return Parent.model_validate(fields | changed)


def test_a_parent_is_shown_by_its_own_bytes_or_by_the_ledger_else_stated(
    told: Told, bundle: Path
) -> None:
    first = told.heard.story.updates[0].answer.policy
    child = with_parents(
        bundle,
        named(told),
        named(told, name="start", weights=first, release=None),
        named(told, name="heard of", weights=f"sha256:{'7' * 64}", relation="distilled from"),
    )
    kin = kin_of([told.folder], lambda where: None)
    by_bytes, by_ledger, by_word = lineage_of(child, kin)
    assert len(by_bytes.shown) == 2
    assert by_ledger.entries == (told.heard.published[0].index,)
    assert (by_word.shown, by_word.entries) == ((), ())
    assert lineage_of(child, ())[0].shown == ()


def test_parents_of_parents_are_followed(told: Told, bundle: Path, tmp_path: Path) -> None:
    older = named(told, name="older", weights=f"sha256:{'7' * 64}")
    middle = Path(shutil.copytree(bundle, tmp_path / "middle"))
    with_parents(middle, older)
    grown = with_parents(bundle, named(told, release=None))
    found = lineage_of(grown, kin_of([middle], lambda where: None))
    assert [(each.generation, each.parent.name) for each in found] == [(1, "base"), (2, "older")]


def test_a_parent_that_is_another_is_refused(told: Told, bundle: Path, tmp_path: Path) -> None:
    kin = kin_of([told.folder], lambda where: None)
    with pytest.raises(Untraceable, match="no ancestor"):
        lineage_of(told, kin)
    child = with_parents(bundle, named(told, release=f"sha256:{'8' * 64}"))
    with pytest.raises(Untraceable, match="another release"):
        lineage_of(child, kin)
    parent = Path(shutil.copytree(told.folder, tmp_path / "parent"))
    path = parent / "model.safetensors"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Untraceable, match=r"model\.safetensors"):
        kin_of([parent], lambda where: None)


def test_pictures_have_all_names_and_no_script(site: Path, bundle: Path, tmp_path: Path) -> None:
    told = told_of(site / "bundle")
    with_parents(bundle, named(told, name='<script>"&'))
    drawn = [tmp_path / "shares.svg", tmp_path / "shares.png"]
    for path in drawn:
        said(str(bundle), "--picture", str(path))
    root = Tree.fromstring(drawn[0].read_bytes())
    assert {each.tag.rpartition("}")[2] for each in root.iter()} == {"svg", "rect", "text", "title"}
    text = "".join(root.itertext())
    assert '<script>"&' in text
    assert all(line.name in text for line in shares_of(told, None).of("operator"))
    assert drawn[1].read_bytes().startswith(b"\x89PNG")
    assert "unknown" in text, "gradients"


def test_an_answer_is_found_in_what_was_asked_and_sampled(site: Path, tmp_path: Path) -> None:
    told = told_of(site / "bundle")
    work, spec, _ = next(rollouts(told.heard.story))
    found = told.rollouts(told.heard.story.results[work])
    assert found is not None
    texts = [
        Tokenizer.from_directory(told.folder).decode(one.tokens) for one in found[spec.groups[0]]
    ]
    text = max(texts, key=len)
    words = (str(site / "bundle"), "--cache", str(tmp_path), "--json", "--least", str(len(text)))
    facts = json.loads(said(*words, "--answer", f"!!{text}!!"))
    (span,) = facts["spans"]
    assert span["text"] == text
    number = texts.index(text)
    where = f"rollout {number} of group {spec.groups[0]}, {work}"
    assert where in {place["where"] for place in span["places"]}
    assert told.heard.answered[work].index in {place["entry"] for place in span["places"]}
    again = json.loads(said(*words, "--answer", "-"))
    assert again["corpus"] == facts["corpus"]
    assert again["spans"] == []
    prompts = [each for each in facts["left_out"] if "prompt" in each]
    assert prompts == []


def test_data_in_the_bundle_are_part_of_what_is_looked_up(bundle: Path, tmp_path: Path) -> None:
    words = (str(bundle), "--cache", str(tmp_path), "--json", "--answer", "a sentence of the data")
    before = json.loads(said(*words))
    (bundle / "environment" / "more.jsonl").write_text(
        '{"a": "x"}\n{"b": "with a sentence of the data."}\n'
    )
    assert "environment/more.jsonl is not as it was signed" in refused(*words)
    signed_again(bundle)
    after = json.loads(said(*words))
    assert (before["covered"], after["covered"]) == (0, 22)
    (place,) = after["spans"][0]["places"]
    assert place["where"] == "environment/more.jsonl, line 2"
    assert place["before"] == "with "


def test_what_does_not_hold_is_refused_in_a_sentence(bundle: Path, tmp_path: Path) -> None:
    assert "is no folder" in refused(str(tmp_path / "nothing"))
    assert "is no release" in refused(str(tmp_path))
    assert "expected" in refused(str(bundle), "--picture", "x.gif", code=2)
    assert "leave" in refused(str(bundle), "--answer", "x", "--grade", code=2)
    tile = next((bundle / "ledger" / "tile" / "entries").rglob("*"))
    tile = tile if tile.is_file() else next(each for each in tile.rglob("*") if each.is_file())
    with spoilt(tile):
        data = tile.read_bytes()
        tile.unlink()
        tile.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        assert "tile/entries" in refused(str(bundle))
    told = told_of(bundle)
    blob = next(iter(told.heard.story.results.values())).answer.result  # type: ignore[union-attr]
    path = told.blob(blob)
    assert path is not None
    with spoilt(path):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data[:-1] + b"x")
        words = refused(str(bundle), "--answer", "x", "--cache", str(tmp_path / "c"))
        assert "does not hold what its name says" in words
    shutil.rmtree(bundle / "ledger")
    parts = json.loads((bundle / "release.json").read_bytes())["components"]
    signed_again(bundle, components=[each for each in parts if each["kind"] != "ledger"])
    assert "brings no ledger" in refused(str(bundle))


def test_it_needs_no_tensor_library(site: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from archipel.cli.archipel import command\n"
        "for words in (['trace', sys.argv[1]], ['trace', sys.argv[1], '--answer', 'x', '--cache', sys.argv[2]]):\n"
        "    command(words, standalone_mode=False)\n"
        "sys.exit(bool({'torch', 'numpy', 'httpx'} & set(sys.modules)))\n"
    )
    words = [sys.executable, "-c", code, str(site / "bundle"), str(tmp_path)]
    subprocess.run(words, check=True, capture_output=True, timeout=120)


@pytest.mark.slow
def test_rewards_that_are_all_equal_have_no_gradient(site: Path) -> None:
    """What was sampled there is drawn at random: nothing of it is right."""
    facts = json.loads(said(str(site / "bundle"), "--grade", "--json"))
    lines = [each for each in facts["shares"]["lines"] if each["kind"] == "machine"]
    assert [each["weight"] for each in lines] == [0, 0]
    assert facts["shares"]["why_no_weights"] is None
