"""What stands exactly at a bound is taken, and what stands just beyond it is not."""

import json
import resource
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from archipel.training import grading_pipe, products
from archipel.training.batch import Group, Rollout
from archipel.training.checkpoint import (
    BadCheckpoint,
    has_checkpoint,
    latest_number,
    read_file,
    write_checkpoint,
)
from archipel.training.environments import jsonl, secret_order
from archipel.training.environments.answers import final_number
from archipel.training.environments.jsonl import BadProblemFile, Jsonl, read_problems
from archipel.training.environments.numerals import MAX_NUMBER_CHARS
from archipel.training.environments.secret_order import SecretOrder
from archipel.training.environments.task import InvalidEnvironment, check_place, split_of
from archipel.training.evaluation import evaluation_tasks, score, wilson_interval
from archipel.training.grading_pipe import json_line
from archipel.training.packing import SHARED_ROW_TOKENS, build, moved, plan, trees_of, usable
from archipel.work.grading.cell import MAX_ANSWER_BYTES, describe


def test_a_logprob_may_exceed_zero_by_rounding_alone():
    assert usable(1e-3)
    assert not usable(1.001e-3)
    assert usable(-1e9)
    assert not usable(float("nan"))


def test_completions_share_a_row_up_to_the_last_place():
    group = Group(0, (1, 2), (Rollout((3, 4, 5), (-1.0,) * 3, True),) * 3, (0.0, 1.0, 1.0), 0)
    for longest, expected in ((8, [8]), (7, [6, 4]), (6, [6, 4]), (5, [4, 4, 4])):
        trees = trees_of(group, (1.0,) * 3, longest)
        assert [tree.num_inputs for tree in trees] == expected
    assert SHARED_ROW_TOKENS == 256


def test_rows_fill_a_micro_batch_up_to_its_budget():
    def tree(length: int):
        group = Group(0, (1,) * length, (Rollout((2,), (-1.0,), True),), (0.0,), 0)
        return trees_of(group, (1.0,), 100)[0]

    def shape(trees, budget):
        micro_batches = plan(trees, budget)
        return [[[t.num_inputs for t in row] for row in rows] for rows in micro_batches]

    assert shape([tree(4)] * 3, 8) == [[[4], [4]], [[4]]]
    assert shape([tree(4)] * 3, 7) == [[[4]], [[4]], [[4]]]
    assert shape([tree(n) for n in (1, 6, 2, 3, 6)], 6) == [[[6]], [[6]], [[3, 2, 1]]]
    assert shape([tree(n) for n in (5, 4, 3, 2, 1)], 5) == [[[5]], [[4, 1]], [[3, 2]]]


def test_a_batch_on_another_device_is_the_same_batch():
    group = Group(0, (1, 2), (Rollout((3, 4), (-1.0,) * 2, True),) * 2, (0.0, 1.0), 0)
    batch = build([tuple(trees_of(group, (1.0, -1.0), 64))])
    there = moved(batch, torch.device("cpu"))
    for name, value in vars(batch).items():
        other = getattr(there, name)
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other
    assert moved(batch, torch.device("meta")).tokens_BT.device.type == "meta"


def test_padding_is_what_a_batch_says_it_is():
    def tree(prompt):
        group = Group(0, prompt, (Rollout((3,), (-1.0,), True),), (0.0,), 0)
        return trees_of(group, (1.0,), 64)[0]

    batch = build([(tree((5, 6, 7)),), (tree((8,)),)])
    assert batch.tokens_BT.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch.positions_BT.tolist() == [[0, 1, 2], [0, 0, 0]]
    assert batch.segments_BT.tolist() == [[0, 0, 0], [0, -1, -1]]
    assert batch.parents_BT.tolist() == [[0, 0, 0], [0, -1, -1]]
    assert batch.predictors_N.tolist() == [2, 3]
    assert batch.chains


@pytest.mark.parametrize("lacking", ["library", "processor", "operator"])
def test_without_the_library_the_processor_or_the_operator_there_is_no_fast_product(
    monkeypatch, lacking
):
    there = {"library": True, "processor": True, "operator": True, lacking: False}
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: there["library"])
    capability = "AVX512" if there["processor"] else "AVX2"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    ops = SimpleNamespace(mkldnn=SimpleNamespace())
    if there["operator"]:
        ops.mkldnn._linear_pointwise = None
    monkeypatch.setattr(products.torch, "ops", ops)
    assert not products.has_onednn()
    there[lacking] = True
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    ops.mkldnn._linear_pointwise = None
    assert products.has_onednn()


def test_an_exceptions_words_are_cut_so_that_any_reply_fits_its_line():
    words = describe(ValueError("\u2028" * 9999))
    assert len(words) == 500
    reply = json_line({"fault": "exception", "detail": words})
    assert len(reply) <= grading_pipe.MAX_REPLY_BYTES
    assert len(reply) <= MAX_ANSWER_BYTES


@pytest.mark.skipif(not products.has_onednn(), reason="this processor has no such product")
@pytest.mark.parametrize(("rows", "is_fast"), [(127, False), (128, True)])
def test_the_fast_product_begins_at_its_number_of_rows(monkeypatch, rows, is_fast):
    taken = []
    product = products._product
    monkeypatch.setattr(products, "_product", lambda *a: taken.append(1) or product(*a))
    with products.FastLinear():
        F.linear(torch.randn(rows, 8), torch.randn(4, 8))
        F.linear(torch.randn(rows, 8), torch.randn(4, 8), bias=None)
    assert bool(taken) == is_fast
    assert len(taken) <= 1, "keywords go the ordinary way"


def test_a_checkpoint_of_another_format_or_too_large_is_refused(tmp_path, monkeypatch):
    assert not has_checkpoint(tmp_path / "absent")
    assert latest_number(tmp_path) == -1
    place = write_checkpoint(tmp_path, 7, {"x": torch.ones(2)}, {"a": 1})
    assert has_checkpoint(tmp_path)
    assert latest_number(tmp_path) == 7
    size = int.from_bytes(place.read_bytes()[:8], "little")
    with monkeypatch.context() as patch:
        patch.setattr("archipel.training.checkpoint.MAX_HEADER_BYTES", size)
        assert read_file(place).number == 7
        patch.setattr("archipel.training.checkpoint.MAX_HEADER_BYTES", size - 1)
        with pytest.raises(BadCheckpoint):
            read_file(place)
    monkeypatch.setattr("archipel.training.checkpoint.FORMAT", 3)
    with pytest.raises(BadCheckpoint, match="has format 2, this version reads 3"):
        read_file(place)


def test_a_checkpoint_written_again_takes_the_place_of_the_old_one(tmp_path):
    for value in (1.0, 2.0):
        place = write_checkpoint(tmp_path, 3, {"x": torch.full((2,), value)}, {})
    assert read_file(place).tensors["x"].tolist() == [2.0, 2.0]


def test_the_longest_number_is_read_and_a_longer_one_is_none():
    digits = "9" * MAX_NUMBER_CHARS
    assert final_number(f"#### {digits}") == int(digits)
    assert final_number(f"#### 9{digits}") is None


LINE = json.dumps({"question": "q", "answer": "#### 1"}) + "\n"


@pytest.mark.parametrize(
    ("limit", "value"),
    [("MAX_FILE_BYTES", 3 * len(LINE)), ("MAX_LINE_BYTES", len(LINE)), ("MAX_PROBLEMS", 3)],
)
def test_a_question_file_may_be_as_large_as_each_bound(tmp_path, monkeypatch, limit, value):
    path = tmp_path / "three.jsonl"
    path.write_text(LINE * 3)
    monkeypatch.setattr(jsonl, limit, value)
    assert len(read_problems(path)) == 3
    monkeypatch.setattr(jsonl, limit, value - 1)
    with pytest.raises(BadProblemFile, match="than"):
        read_problems(path)


def test_a_line_after_an_empty_one_keeps_its_own_number(tmp_path):
    path = tmp_path / "gap.jsonl"
    path.write_text(LINE + "\n" + "{\n")
    with pytest.raises(BadProblemFile, match=r"gap\.jsonl:3: not a JSON object"):
        read_problems(path)


def test_a_separate_test_file_leaves_every_other_question_to_the_rest(tmp_path):
    def write(name, numbers):
        rows = [{"question": f"{n} + 1?", "answer": f"#### {n + 1}"} for n in numbers]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / name)

    paths = {"path": write("all", range(60)), "test_path": write("held", range(50, 70))}
    one, other = Jsonl(paths, seed=0), Jsonl(paths, seed=1)
    parts = {split: [p.question for p in part] for split, part in one._parts.items()}
    assert {split: len(set(part)) for split, part in parts.items()} == {
        "train": len(parts["train"]), "dev": len(parts["dev"]), "test": 20,
    }  # fmt: skip
    assert len(parts["train"]) + len(parts["dev"]) == 50
    assert all(split_of(question) == "dev" for question in parts["dev"])
    assert parts["train"] != [p.question for p in other._parts["train"]]
    size = len(parts["dev"])
    assert one.task("dev", size).prompt == one.task("dev", 0).prompt
    assert one.task("dev", size - 1).prompt != one.task("dev", 0).prompt


def test_a_tenth_of_all_contents_is_dev_and_a_tenth_is_test_for_ever():
    split = [split_of(f"content {number}") for number in range(10_000)]
    assert split.count("dev") == pytest.approx(1000, abs=120)
    assert split.count("test") == pytest.approx(1000, abs=120)
    owned = {"agk": "train", "agm": "dev", "ahm": "test"}
    assert {content: split_of(content) for content in owned} == owned
    check_place("train", 0)


@pytest.mark.parametrize(
    ("values", "is_fit"),
    [
        ({"length": 2, "alphabet": 26}, True),
        ({"length": 3, "alphabet": 27}, False),
        ({"length": 2, "alphabet": 1}, False),
        ({"length": 27, "alphabet": 26}, False),
        ({"lengths": "2-3"}, True),
        ({"lengths": "3-3"}, True),
        ({"lengths": "1-3"}, False),
        ({"lengths": "3-"}, False),
        ({"lengths": "26-27", "alphabet": 26}, False),
    ],
)
def test_lengths_and_alphabets_have_their_bounds(values, is_fit):
    try:
        SecretOrder(values, 0, None)
    except InvalidEnvironment:
        assert not is_fit
    else:
        assert is_fit


def test_as_many_letter_sets_as_the_bound_are_enumerated(monkeypatch):
    monkeypatch.setattr(secret_order, "MAX_LETTER_SETS", 560)  # 16 choose 3
    SecretOrder({"length": 3}, 0, None)
    monkeypatch.setattr(secret_order, "MAX_LETTER_SETS", 559)
    with pytest.raises(InvalidEnvironment, match="560 letter sets, at most 559"):
        SecretOrder({"length": 3}, 0, None)


def test_a_reward_counts_as_right_from_the_last_bit_below_one():
    report = score(0, "dev", [1.0, 1.0 - 1e-9, 1.0 - 2e-9])
    assert report.greedy.value == pytest.approx(2 / 3)
    assert (report.num_samples, report.pass_at) == (0, {})


@pytest.mark.parametrize("place", [(-1, 4), (5, 4), (0, 0)])
def test_a_share_of_nothing_has_no_interval(place):
    with pytest.raises(ValueError, match="right of"):
        wilson_interval(*place)


def test_a_wider_level_gives_a_wider_interval():
    low, high = wilson_interval(3, 10)
    lower, higher = wilson_interval(3, 10, z=3.0)
    assert lower < low < 0.3 < high < higher


def test_evaluation_takes_the_first_tasks_in_order_and_skips_repeats():
    environment = SecretOrder({"length": 3}, 0, None)
    expected = [environment.task("dev", index) for index in range(12)]
    assert evaluation_tasks(environment, "dev", 12) == expected
    assert evaluation_tasks(environment, "dev", 1) == expected[:1]


def test_the_grading_process_never_raises_a_limit_it_was_given():
    code = (
        "import resource, sys; from archipel.work.grading import process as child\n"
        "if sys.argv[1:]: resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]),) * 2)\n"
        "child._bound_memory(); print(*resource.getrlimit(resource.RLIMIT_DATA))"
    )
    gib = 2**30
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    for given, expected in ((2 * gib, 2 * gib), (6 * gib, 4 * gib), (None, 4 * gib)):
        if given is None and hard != resource.RLIM_INFINITY:
            continue
        arguments = [] if given is None else [str(given)]
        said = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True)
        assert said.stdout.split() == [str(expected).encode()] * 2, said.stderr
