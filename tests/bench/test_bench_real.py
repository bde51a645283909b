"""What a real model is asked, how both loops train on it, and what the bench makes of it; with a tiny model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from archipel.bench import real, real_central, real_plain
from archipel.bench.peers_job import Job, Result
from archipel.bench.real import OURS, WAYS, Judged, RealArm, RealBench, RealBenchPlan, Tools
from archipel.bench.real_report import arm_line, draw, save, table, to_json
from archipel.bench.real_tasks import TASKS, shots, write_questions
from archipel.cli.archipel import command
from archipel.cli.bench_real import ARMS
from archipel.cli.recipes import find_recipe
from archipel.model.config import DecoderConfig
from archipel.model.directory import expected_shapes, read_config, write_model
from archipel.model.network import random_weights
from archipel.model.tokenizer import Tokenizer, byte_tokenizer
from archipel.records.recipe import Recipe
from archipel.training.environments.environment import make_environment
from archipel.training.grading import Submission
from archipel.training.groups import group_request

TEMPLATE = "{% for m in messages %}<bos>{{ m['role'] }}\n{{ m['content'] }}<eos>{% endfor %}"


def tiny_model(path: Path) -> Path:
    """A chat model over bytes that knows nothing."""
    tokenizer = byte_tokenizer().with_chat_template(TEMPLATE)
    config = DecoderConfig(
        "llama", tokenizer.vocab_size, 32, 1, 2, 2, 16, 64, 128, bos_token_id=tokenizer.bos_id,
        eos_token_ids=tokenizer.stop_ids, pad_token_id=tokenizer.pad_id,
    )  # fmt: skip
    write_model(path, random_weights(config, 1), config, tokenizer)
    return path


def small_recipe(questions: Path) -> Recipe:
    write_questions(TASKS["sums"], questions)
    recipe = find_recipe("real-sums")
    parameters = recipe.environment.parameters | {"path": str(questions), "answer_kind": "text"}
    changes = {
        "run": recipe.run.model_copy(
            update={"versions": 2, "groups_per_update": 4, "group_size": 4}
        ),
        "environment": recipe.environment.model_copy(update={"parameters": parameters}),
        "sampling": recipe.sampling.model_copy(update={"max_new_tokens": 4}),
        "optimiser": recipe.optimiser.model_copy(update={"learning_rate": 1e-2, "warmup_steps": 0}),
    }
    return recipe.model_copy(update=changes)


def job_of(folder: Path, recipe: Recipe, variant: str) -> Job:
    (folder / "out").mkdir()
    return Job(
        recipe=recipe.canonical_bytes().decode(), secret="", start=str(tiny_model(folder / "start")),
        out=str(folder / "out"), updates=2, snapshot_every=0, threads=1, variant=variant,
    )  # fmt: skip


def test_every_question_has_its_answer_and_stands_once(tmp_path: Path) -> None:
    for task in TASKS.values():
        assert write_questions(task, tmp_path / "q") == len(list(task.pairs()))
        rows = [json.loads(line) for line in (tmp_path / "q").read_text().splitlines()]
        assert len({row["question"] for row in rows}) == len(rows)
        for row in rows[:50]:
            a, sign, b = row["question"].removeprefix("What is ").removesuffix("?").split()
            assert int(row["answer"].removeprefix("#### ")) == int(a) + int(sign + b)


def test_examples_that_are_shown_earn_the_reward_themselves(tmp_path: Path) -> None:
    """The form control shows a form that the grader takes."""
    write_questions(TASKS["sums"], tmp_path / "q")
    recipe = find_recipe("real-sums")
    parameters = recipe.environment.parameters | {"path": str(tmp_path / "q")}
    section = recipe.environment.model_copy(update={"parameters": parameters})
    environment = make_environment(section, 0, None)
    by_prompt = {t.prompt: t for part in ("train", "dev", "test") for t in (environment.task(part, n) for n in range(2500))}  # fmt: skip
    turns = shots(TASKS["sums"])
    for asked, said in zip(turns[::2], turns[1::2], strict=True):
        task = by_prompt[asked["content"]]
        assert environment.grade(task, said["content"], True) == 1
        assert environment.grade(task, said["content"], False) == 0, "cut off"


def test_rewards_by_chance_say_nothing_of_the_completions() -> None:
    def asked(text: str) -> list[Submission]:
        return [Submission("train", n, text, True) for n in range(400)]

    one, other = real_central.drawn_rewards(3), real_central.drawn_rewards(3)
    first = one(asked("a"))
    assert first == other(asked("b"))
    assert one(asked("a")) != first, "and differ from batch to batch"
    assert abs(sum(first) / 400 - real_central.DRAWN_SHARE) < 0.08
    assert real_central.drawn_rewards(4)(asked("a")) != first


@pytest.mark.parametrize("variant", [real_central.EARNED, real_central.DRAWN])
def test_our_arm_learns_from_the_rewards_that_its_job_names(tmp_path: Path, variant: str) -> None:
    recipe = small_recipe(tmp_path / "q.jsonl")
    job = job_of(tmp_path, recipe, variant)
    result = real_central.train(job)
    assert [update for update, _, _ in result.points] == [1, 2]
    moved = load_file(job.snapshot(2))
    assert {n: tuple(w.shape) for n, w in moved.items()} == expected_shapes(read_config(Path(job.start)))  # fmt: skip
    start = load_file(Path(job.start) / "model.safetensors")
    is_moved = any(not torch.equal(start[name], weight) for name, weight in moved.items())
    assert is_moved == (variant == real_central.DRAWN), "no answer of a random model earns anything"


def test_an_adapter_is_trained_and_judged_over_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its snapshots are the adapter alone; they are judged over the start's weights."""
    tiny_model(tmp_path / "start")
    plan = RealBenchPlan((0,), ("sums",), (real.LORA,), 1, 1, num_test_tasks=4)
    names: list[str] = []

    def run(python: Path, module: str, job: Job, environment: object) -> Result:
        Path(job.out).mkdir()
        job = replace(job, variant=real_central.DRAWN)
        result = real_central.train(job)
        names.extend(load_file(job.snapshot(1)))
        return result

    monkeypatch.setattr(real, "run_job", run)
    recipe = small_recipe(tmp_path / "q.jsonl")
    (arm,) = RealBench(recipe, tmp_path / "start", plan, tmp_path, Tools(Path("x"), {})).measure(
        lambda arm: None
    )
    assert [each.update for each in arm.judged] == [0, 1]
    assert names
    assert all("lora" in name for name in names)


def test_the_plain_loop_asks_the_same_and_moves_by_rewards(tmp_path: Path) -> None:
    """In the very prompts that our arm has."""
    recipe = small_recipe(tmp_path / "q.jsonl")
    recipe = recipe.model_copy(update={"run": recipe.run.model_copy(update={"versions": 6})})
    job = job_of(tmp_path, recipe, "")
    environment = make_environment(recipe.environment, 0, None)
    asked: list[str] = []

    class Likes:
        def task(self, split: str, index: int):
            task = environment.task(split, index)
            asked.append(task.prompt)
            return task

        def grade(self, task: object, completion: str, finished: bool) -> float:
            return float(len(completion.encode()) % 2)

    torch.manual_seed(2)
    loop = real_plain._Loop(recipe, Likes(), job.start)  # type: ignore[arg-type]
    tokenizer = Tokenizer.from_directory(Path(job.start))
    prompts = loop._prompts([environment.task("train", n).prompt for n in range(4)])
    for row, mask, n in zip(prompts["input_ids"], prompts["attention_mask"], range(4), strict=True):
        mine = group_request(recipe, environment, tokenizer, n).prompt
        assert tuple(row[mask.bool()].tolist()) == mine
    rewards = [loop.update(n) for n in range(6)]
    assert asked[:4] == [environment.task("train", n).prompt for n in range(4)]
    assert all(0 <= each <= 1 for each in rewards)
    state = {name: each.detach() for name, each in loop.model.named_parameters()}
    before = load_file(Path(job.start) / "model.safetensors")
    assert any(not torch.equal(before[name].float(), state[name]) for name in before)


def test_tokens_after_the_end_count_in_no_loss(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path / "q.jsonl")
    job = job_of(tmp_path, recipe, "")
    loop = real_plain._Loop(recipe, make_environment(recipe.environment, 0, None), job.start)
    end = Tokenizer.from_directory(Path(job.start)).stop_ids[0]
    mask, finished = loop._sampled(torch.tensor([[5, end, 7, end], [5, 6, 7, 8]]))
    assert mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert finished.tolist() == [True, False]


def _bench(folder: Path, plan: RealBenchPlan) -> RealBench:
    return RealBench(find_recipe("real-sums"), folder / "start", plan, folder, Tools(Path("x"), {}))


def test_arms_differ_in_what_they_are_named_for_alone(tmp_path: Path) -> None:
    bench = _bench(tmp_path, RealBenchPlan(updates=7))
    ours = bench.recipe_of("sums", 3, OURS)
    assert (ours.run.seed, ours.run.versions) == (3, 7)
    for arm in (real.PLAIN, real.CHANCE):
        assert bench.recipe_of("sums", 3, arm) == ours
    higher = bench.recipe_of("sums", 3, real.CLIP_HIGHER)
    assert higher.loss.clip_high == real.HIGHER_CLIP
    assert higher.model_copy(update={"loss": ours.loss}) == ours
    mixed = bench.recipe_of("sums", 3, real.MORE_TASKS)
    lines = Path(str(mixed.environment.parameters["path"])).read_text().splitlines()
    assert len(lines) == sum(len(list(task.pairs())) for task in TASKS.values())
    assert tuple(WAYS) == ARMS, "the command offers every arm"


def test_what_is_held_out_is_so_in_every_arm(tmp_path: Path) -> None:
    """Mixing tasks trains on no question that the task's own test part holds."""
    bench = _bench(tmp_path, RealBenchPlan())
    own = make_environment(bench.recipe_of("sums", 1, OURS).environment, 0, None)
    mixed = make_environment(bench.recipe_of("sums", 1, real.MORE_TASKS).environment, 1, None)
    held_out = {own.task("test", n).prompt for n in range(300)}
    assert not held_out & {mixed.task("train", n).prompt for n in range(9000)}


def test_arms_run_in_turn_and_the_start_is_judged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_model(tmp_path / "start")
    jobs: list[Job] = []

    def run(python: Path, module: str, job: Job, environment: object) -> Result:
        Path(job.out).mkdir()
        jobs.append(job)
        from safetensors.torch import save_file

        save_file(load_file(Path(job.start) / "model.safetensors"), job.snapshot(job.updates))
        return Result("x", 0.0, 0.0, ((job.updates, 2.0, 1.0),), (0.5,))

    monkeypatch.setattr(real, "run_job", run)
    plan = RealBenchPlan((0, 1), ("sums",), (real.OURS, real.PLAIN), 2, 2, num_test_tasks=4)
    told: list[RealArm] = []
    arms = _bench(tmp_path, plan).measure(told.append)
    assert arms == told
    assert [(arm.seed, arm.arm) for arm in arms] == [(0, "ours"), (0, "plain loop"), (1, "plain loop"), (1, "ours")]  # fmt: skip
    assert all([each.update for each in arm.judged] == [0, 2] for arm in arms)
    assert all(arm.judged[0] is arms[0].judged[0] for arm in arms)
    jobs.clear()
    assert _bench(tmp_path, plan).measure(lambda arm: None) == arms
    assert not jobs, "nothing is measured twice"
    assert not any(job.snapshot(2).exists() for job in jobs), "half a gigabyte each"


def _arm(seed: int, name: str, right: int) -> RealArm:
    judged = (Judged(0, 0.0, 0.0, 10, 100), Judged(20, 90.0, 80.0, right, 100))
    return RealArm("sums", seed, name, Result("x", 1.0, 1.0, (), ()), judged, 0.4)


def test_the_report_has_every_arm_with_intervals(tmp_path: Path) -> None:
    arms = [_arm(0, "ours", 70), _arm(1, "ours", 60), _arm(0, "plain loop", 50)]
    assert "0.100 -> 0.700 [0.604, 0.781] after 20 updates" in arm_line(arms[0])
    said = table(arms)
    assert "0.650 [" in said
    assert "0.500 (one seed)" in said
    save(arms, tmp_path / "real.json")
    read = json.loads((tmp_path / "real.json").read_text())
    assert [row["judged"][1]["right"] for row in read] == [70, 60, 50]
    assert read == json.loads(json.dumps(to_json(arms)))
    draw(arms, tmp_path / "real.png")
    assert (tmp_path / "real.png").stat().st_size > 5000


def test_the_command_says_what_it_needs() -> None:
    done = CliRunner().invoke(command, ["bench", "real", "--arm", "magic"])
    assert done.exit_code == 2
    assert "plain loop" in done.output
