"""A model adapted by members: the same windows for every way, a member's state on the disk, rates from elsewhere."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from archipel.bench.adapt import AdaptBench, Found, Row, Trial
from archipel.bench.adapt_ground import Ground, ground_of
from archipel.bench.adapt_plan import WAYS, AdaptPlan, Way
from archipel.bench.adapt_report import lines_of, table, to_json
from archipel.bench.adapt_ways import Job, Ran, train
from archipel.model.config import DecoderConfig
from archipel.model.directory import write_model
from archipel.model.network import random_weights
from archipel.model.tokenizer import tokenizer_named
from archipel.records.corpus import BadCorpus
from archipel.training.exchange import codec_of
from archipel.training.inner.windows import Windows

PLAN = AdaptPlan(
    versions=2, every=2, batch=2, sequence_length=16, held_out=3, tuned_on=2, rates=(3e-3,)
)
CENTRAL, E3M0, TOP_K, SHARE, ALONE = WAYS
PLAIN = Way("plain", "members", outer_momentum=0.0)
LETTERS = np.random.default_rng(0).integers(97, 105, (160, 9), np.uint8)
TEXT = b"\n".join(bytes(line) for line in LETTERS)


def quiet(line: str) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = DecoderConfig(
        family="llama",
        vocab_size=260,
        hidden_size=16,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    path = tmp_path_factory.mktemp("model") / "tiny"
    write_model(path, random_weights(config, 0), config, tokenizer_named("bytes"))
    return path


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "letters.txt"
    path.write_bytes(TEXT)
    return path


@pytest.fixture(scope="module")
def ground(model: Path, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return ground_of(PLAN, model, text, tmp_path_factory.mktemp("ground"), quiet, {})


def ran(ground: Ground, way: Way, folder: Path, rate: float = 3e-3) -> Ran:
    return train(ground, Job(way, rate, 0, 0, ground.plan.versions), folder, quiet)


def apart(one: Ran, other: Ran) -> float:
    return max(float(np.abs(each - other.weights[name]).max()) for name, each in one.weights.items())  # fmt: skip


def rows_of(windows: list[Windows]) -> list[bytes]:
    return sorted(row.tobytes() for tokens, _ in windows for row in tokens)


def test_all_ways_take_the_windows_of_the_same_works_and_none_twice(ground: Ground) -> None:
    works = [ground.work(0, version, index) for version in range(2) for index in range(3)]
    together = [each for version in range(2) for each in ground.together(0, version)]
    assert rows_of(together) == rows_of([each for work in works for each in work])
    assert [each[0].shape for each in together] == [(6, 17)] * 4
    assert len(set(rows_of(together))) == 2 * 3 * 2 * 2
    assert rows_of(ground.work(1, 0, 0)) != rows_of(ground.work(0, 0, 0))


def said(tokens: np.ndarray) -> bytes:
    return tokenizer_named("bytes").decode(tokens.tolist()).encode()


def test_nothing_that_judges_is_learned_and_rates_are_judged_by_other_text(ground: Ground) -> None:
    learned = TEXT[: TEXT.rfind(b"\n", 0, len(TEXT) - len(TEXT) // 10) + 1]
    held = TEXT[len(learned) :]
    (shard,) = ground.shards
    assert said(shard.tokens) == learned
    judged, tuned = ([said(row) for row in each[0]] for each in (ground.judged, ground.tuned_on))
    assert (len(judged), len(tuned)) == (3, 2)
    assert all(each in held for each in (*judged, *tuned))
    assert max(map(held.index, tuned)) + 16 <= min(map(held.index, judged))


def test_one_member_that_is_made_anew_for_each_work_is_one_machine(
    ground: Ground, tmp_path: Path
) -> None:
    alone = replace(ground, plan=replace(PLAN, members=1))
    central = ran(alone, CENTRAL, tmp_path)
    assert apart(ran(alone, PLAIN, tmp_path), central) < 1e-6
    assert apart(ran(alone, ALONE, tmp_path), central) == 0
    assert apart(ran(alone, CENTRAL, tmp_path, 2e-3), central) > 1e-4
    assert not list(tmp_path.iterdir())


def test_bytes_are_of_payloads_and_everybody_learns_as_many_tokens(
    ground: Ground, tmp_path: Path
) -> None:
    central, plain = ran(ground, CENTRAL, tmp_path), ran(ground, PLAIN, tmp_path)
    assert [ours / theirs for ours, theirs in zip(central.up, plain.up, strict=True)] == [2] * 3
    assert plain.down == plain.up
    for way in (E3M0, TOP_K):
        found = ran(ground, way, tmp_path)
        size = codec_of(way.codec).size(ground.shapes)
        assert found.up == (2 * size,) * 3
        assert found.down == (4 * size,) * 3
        assert found.tokens == PLAN.tokens
    assert central.tokens == ran(ground, ALONE, tmp_path).tokens == PLAN.tokens
    share = ran(ground, SHARE, tmp_path)
    assert (share.tokens * 3, share.up) == (PLAN.tokens, (0,))


def test_what_a_member_could_not_send_is_in_its_next_contribution(
    ground: Ground, tmp_path: Path
) -> None:
    forgetful = replace(TOP_K, codec=replace(TOP_K.codec, error_feedback=None))
    assert apart(ran(ground, TOP_K, tmp_path), ran(ground, forgetful, tmp_path)) > 1e-4


def test_the_best_rate_is_taken_after_trials_on_further_works(
    ground: Ground, tmp_path: Path
) -> None:
    plan = replace(PLAN, rates=(1e-5, 3e-3), names=(SHARE.name,))
    asked: list[tuple[int, int]] = []

    class Watched(Ground):
        def work(self, seed: int, version: int, index: int) -> list[Windows]:
            asked.append((version, index))
            return super().work(seed, version, index)

    watched = Watched(**vars(ground))
    trials: list[Trial] = []
    rows: list[Row] = []
    names = {"model": "m", "text": "t"}
    AdaptBench(plan, names, lambda: watched, tmp_path, quiet).measure(trials.append, rows.append)
    assert [(each.kind, each.rate) for each in trials] == [("central", 1e-5), ("central", 3e-3)]
    assert trials[1].nats < trials[0].nats
    assert (rows[0].way, rows[0].rate) == (SHARE, 3e-3)
    assert rows[0].found.nats < rows[0].before
    assert set(asked[:6]) == {(2, 0), (2, 1), (2, 2)}
    assert set(asked[6:]) == {(0, 0), (1, 0)}

    def none() -> Ground:
        raise AssertionError("measured again")

    again: list[Row] = []
    AdaptBench(plan, names, none, tmp_path, quiet).measure(trials.append, again.append)
    assert again == rows
    with pytest.raises(AssertionError, match="measured again"):
        AdaptBench(plan, {**names, "text": "u"}, none, tmp_path, quiet).measure(
            trials.append, again.append
        )


def test_a_text_or_plan_that_does_not_do_is_refused(
    model: Path, text: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadCorpus, match="has 10 windows, expected at least 12"):
        ground_of(replace(PLAN, held_out=6), model, text, tmp_path, quiet, {})
    with pytest.raises(BadCorpus, match="blocks are needed, and there are"):
        ground_of(replace(PLAN, versions=30), model, text, tmp_path, quiet, {})
    line = tmp_path / "line"
    line.write_bytes(b"a" * 1000)
    with pytest.raises(BadCorpus, match="no line end before its last tenth"):
        ground_of(PLAN, model, line, tmp_path, quiet, {})
    with pytest.raises(ValueError, match="got the way 'x', expected one of: central; "):
        AdaptPlan(names=("x",))
    with pytest.raises(ValueError, match="expected at least one, all above 0"):
        AdaptPlan(rates=(0.0,))


def row(way: Way, nats: float, up: int, seed: int = 0) -> Row:
    return Row(way, seed, 1e-3, 4.0, Found(nats, 100, (up, up), (up, up), 1.0))


def test_shares_of_the_gain_are_of_the_central_run_of_the_same_seed() -> None:
    rows = [row(CENTRAL, 2.0, 6000), row(CENTRAL, 3.0, 6000, 1), row(E3M0, 2.5, 100), row(E3M0, 3.25, 100, 1)]  # fmt: skip
    rows.append(row(SHARE, 3.0, 0))
    lines = {line.way: line for line in lines_of(rows)}
    assert lines[E3M0.name].gain.mean == pytest.approx(0.75)
    assert lines[E3M0.name].ratio.mean == pytest.approx((1.25 + 3.25 / 3) / 2)
    assert lines[E3M0.name].fewer_up == 60
    assert math.isinf(lines[SHARE.name].fewer_up)
    assert lines[SHARE.name].gain.mean == pytest.approx(0.5)
    assert "75%" in table(rows, PLAN)
    alone = to_json(rows[2:3], [Trial("members", 1e-3, 2.0)], PLAN)
    assert alone["lines"][0]["ratio"]["num_seeds"] == 0
    assert alone["lines"][0]["fewer_up"] is None
    assert table([], PLAN) == "nothing was measured yet"


def test_the_command_prints_what_it_has(model: Path, text: Path, tmp_path: Path) -> None:
    from archipel.cli.bench_adapt import command

    asked = f"--text {text} --model {model} --sequence-length 16 --members 2 --way central --out {tmp_path}"
    found = CliRunner().invoke(command, ["--quick", *asked.split()])
    assert found.exit_code == 0, found.output
    assert "2 members, 2 outer steps of 1 inner steps of 1 x 16 tokens each" in found.stdout
    assert "100%" in found.stdout
