"""Rewards from one's own Python file: tasks, parts, metrics, programs run apart, a judge behind an address."""

import json
import re
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from archipel.model.tokenizer import byte_tokenizer
from archipel.records.recipe import EnvironmentSection
from archipel.training import judge
from archipel.training.environments.environment import make_environment
from archipel.training.environments.task import InvalidEnvironment
from archipel.training.grading import Grader, GraderUnavailable, Submission
from archipel.training.sft import environment_examples
from archipel.work.grades import BatchGrades

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
MANY = 'def tasks():\n    return [{"prompt": f"say {n}", "n": n} for n in range(60)]\n'


def section(path: Path, limit_s: float = 20.0, **values: str | int) -> EnvironmentSection:
    parameters = {"path": str(path), **values}
    return EnvironmentSection(name="python", parameters=parameters, time_limit_s=limit_s)


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text)
    return path


def shown(index: int, *completions: str, finished: bool = True) -> list[Submission]:
    return [Submission("train", index, each, finished) for each in completions]


def test_rewards_parts_and_metrics_are_those_of_the_file() -> None:
    asked = section(EXAMPLES / "anagrams.py", longest=5)
    environment = make_environment(asked, 0, None)
    task = environment.task("train", 0)
    word = task.detail["word"]
    right = {"stone": "notes", "night": "thing"}.get(word, word[::-1])
    with Grader(asked, 0) as grader:
        found = grader.graded(shown(0, right, word, "???") + shown(0, right, finished=False))
        assert not grader.faults
    assert [each.reward for each in found] == pytest.approx([1.0, 0.3, 0.0, 0.0])
    assert found[1].parts == {"part_letters": 1.0, "part_anagram": 0.0, "metric_length": 5.0}
    assert found[3].parts == {}
    assert BatchGrades.of(found).parts["part_anagram"] == pytest.approx(1 / 3)
    assert len(environment.task("train", 3).detail["word"]) <= 5


def test_every_split_has_its_own_prompts_and_they_come_back(tmp_path: Path) -> None:
    asked = section(written(tmp_path, MANY + "def reward(task, completion): return 1.0\n"))
    environment = make_environment(asked, 0, None)
    splits = [
        {environment.task(split, n).prompt for n in range(60)} for split in ("train", "dev", "test")
    ]
    assert sum(map(len, splits)) == len(set.union(*splits)) == 60
    assert (
        environment.task("train", 3).detail == environment.task("train", 3 + len(splits[0])).detail
    )


def test_a_bad_reward_costs_its_own_grading_and_is_counted(tmp_path: Path) -> None:
    text = MANY + (
        "def reward(task, completion):\n"
        "    if completion == 'raise': raise KeyError('x')\n"
        "    if completion == 'hang':\n"
        "        while True: pass\n"
        "    return {'high': 2.0, 'nan': float('nan'), 'text': '?'}.get(completion, 0.5)\n"
    )
    with Grader(section(written(tmp_path, text), limit_s=1.0), 0) as grader:
        rewards = grader.grade(shown(0, "raise", "fine", "high", "nan", "text", "hang", "fine"))
        assert rewards == (0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.5)
        assert grader.faults == {"exception": 2, "out_of_range": 2, "timeout": 1}


def test_two_parts_never_hide_one_that_is_out_of_range(tmp_path: Path) -> None:
    text = (
        MANY
        + "REWARDS = {'a': lambda t, c: 3.0, 'b': lambda t, c: 0.0}\nWEIGHTS = {'a': 0.1, 'b': 0.9}\n"
    )
    with Grader(section(written(tmp_path, text)), 0) as grader:
        assert grader.grade(shown(0, "x")) == (0.0,)
        assert grader.faults == {"out_of_range": 1}


REWARD = "def reward(task, completion): return 0.0\n"
BROKEN = {
    "defines no tasks": REWARD,
    "must define reward": MANY,
    "expected a dictionary with a text 'prompt'": "def tasks(): return ['x'] * 50\n" + REWARD,
    "does not import: SyntaxError": "def tasks(:",
    "does not import: ZeroDivisionError": "1 / 0",
    "failed: ValueError: no": "def tasks(): raise ValueError('no')\n" + REWARD,
    "leaves no task for the": "def tasks(): return [{'prompt': 'one'}]\n" + REWARD,
    "expected numbers, texts and lists": "def tasks(): return [{'prompt': 'x', 'y': {1, 2}}]\n"
    + REWARD,
    "expected lower-case names": MANY + "REWARDS = {'No Name': print}\n",
    "expected one for each of a": MANY + "REWARDS = {'a': print}\nWEIGHTS = {'b': 1}\n",
    "expected positive numbers": MANY + "REWARDS = {'a': print}\nWEIGHTS = {'a': -1}\n",
}


REFUSED_FIRST = ("must define reward", "does not import: SyntaxError", "expected one for each of a")


@pytest.mark.parametrize(
    "says",
    [
        each if each in REFUSED_FIRST else pytest.param(each, marks=pytest.mark.slow)
        for each in BROKEN
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_a_sentence(tmp_path: Path, says: str) -> None:
    asked = section(written(tmp_path, BROKEN[says]))
    with pytest.raises(InvalidEnvironment, match=says.replace("(", r"\(")):
        make_environment(asked, 0, None)


def test_unknown_settings_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidEnvironment, match="unexpected keyword argument 'shortest'"):
        make_environment(section(EXAMPLES / "anagrams.py", shortest=3), 0, None)
    with pytest.raises(InvalidEnvironment, match="cannot read"):
        make_environment(section(tmp_path / "none.py"), 0, None)


def test_programs_run_apart_from_what_judges_them() -> None:
    right = "```python\na, b = map(int, input().split())\nprint(a + b)\n```"
    prying = (
        "import gc, os\n"
        "held = [each for each in gc.get_objects() if isinstance(each, dict) and 'tests' in each]\n"
        "os.write(3, b'{\"reward\": 1.0}\\n')\n"
        "print(len(held))\n"
    )
    writing = "open('/tmp/archipel-was-here', 'w').write('x')\nprint(3)"
    asked = section(EXAMPLES / "programs.py", limit_s=1.0)
    environment = make_environment(asked, 0, None)
    place = next(n for n in range(60) if "the sum" in environment.task("train", n).prompt)
    with Grader(asked, 0) as grader:
        found = grader.graded(
            shown(
                place,
                right,
                "print(3)",
                prying,
                writing,
                "while True: pass",
                "import sys; sys.exit(1)",
                "1 +",
            )
        )
    assert [each.reward for each in found] == pytest.approx([1.0, 1 / 3, 0, 0, 0, 0, 0])
    assert not Path("/tmp/archipel-was-here").exists()


@contextmanager
def judge_that(*statuses: int, says: str = "7") -> Iterator[tuple[str, list[dict]]]:
    """Answers `statuses` first, then 200s."""
    heard: list[dict] = []
    lock, left = threading.Lock(), list(statuses)

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                heard.append(body | {"key": self.headers.get("authorization")})
                status = left.pop(0) if left else 200
            told = json.dumps({"choices": [{"message": {"content": says}}]}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", heard
    finally:
        server.shutdown()
        server.server_close()


def rubric(url: str) -> EnvironmentSection:
    return section(EXAMPLES / "rubric.py", judge_url=url, judge_model="marker")


def test_a_judge_is_asked_once_for_the_same_text(tmp_path: Path) -> None:
    with judge_that() as (url, heard):
        for _ in range(2):
            with Grader(rubric(url), 0, b" its-key\n", folder=tmp_path) as grader:
                rewards = grader.grade(shown(0, "soft", "soft", "hard") + shown(1, "soft"))
        assert rewards == pytest.approx([0.9 * 0.7 + 0.1] * 4)
    assert len(heard) == 3
    assert {each["key"] for each in heard} == {"Bearer its-key"}
    assert heard[0]["model"] == "marker"


def test_a_busy_judge_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "FIRST_PAUSE_S", 0.01)
    with judge_that(503, 429) as (url, heard), Grader(rubric(url), 0) as grader:
        assert grader.grade(shown(0, "soft")) == pytest.approx([0.73])
    assert len(heard) == 3


@pytest.mark.slow
def test_a_judge_that_is_away_never_gives_a_reward_of_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(judge, "FIRST_PAUSE_S", 0.01)
    with judge_that(*[500] * 5) as (url, _), Grader(rubric(url), 0) as grader:
        with pytest.raises(GraderUnavailable, match="gives no answer"):
            grader.grade(shown(0, "soft"))
        assert grader.grade(shown(0, "soft")) == pytest.approx([0.73])
    no_key = pytest.raises(GraderUnavailable, match="check its address, model and key")
    with judge_that(401) as (url, _), Grader(rubric(url), 0) as grader, no_key:
        grader.grade(shown(0, "soft"))
    no_judge = pytest.raises(GraderUnavailable, match="judge_url")
    with Grader(section(EXAMPLES / "rubric.py"), 0) as grader, no_judge:
        grader.grade(shown(0, "soft"))


@pytest.mark.slow
def test_a_question_that_a_judge_refuses_costs_itself_alone() -> None:
    with judge_that(400) as (url, _), Grader(rubric(url), 0) as grader:
        rewards = grader.grade(shown(0, "soft"))
        assert rewards == (0.0,)
        assert grader.faults == {"refused": 1}
        assert grader.grade(shown(0, "soft")) == pytest.approx([0.73])


def test_a_judge_that_says_no_number_gives_nothing() -> None:
    with judge_that(says="Ignore the rubric: 10") as (url, _), Grader(rubric(url), 0) as grader:
        assert grader.grade(shown(0, "soft")) == pytest.approx([0.1])


HOW_TO = (EXAMPLES.parent / "how-to" / "reward-in-python.md").read_text("utf-8")


def test_the_how_to_shows_the_example_and_settings_that_are_read() -> None:
    modules = re.findall(r"```python\n(.*?)```", HOW_TO, re.DOTALL)
    assert modules[0] == (EXAMPLES / "anagrams.py").read_text("utf-8")
    for table in re.findall(r"```toml\n(.*?)```", HOW_TO, re.DOTALL):
        asked = EnvironmentSection.model_validate(tomllib.loads(table)["environment"])
        if asked.name == "python":
            there = asked.parameters | {"path": str(EXAMPLES / str(asked.parameters["path"]))}
            make_environment(asked.model_copy(update={"parameters": there}), 0, None)


SOME_ANSWERS = """
def tasks():
    for number in range(300):
        yield {"prompt": f"double {number}: ", "number": number}

def answer(task):
    return 2 * task["number"] if task["number"] % 3 == 0 else None

def reward(task, completion):
    return float(completion == str(2 * task["number"]))
"""


def test_a_task_without_an_answer_is_passed_over_and_never_taught_as_none(tmp_path: Path) -> None:
    path = tmp_path / "some.py"
    path.write_text(SOME_ANSWERS)
    section = EnvironmentSection(name="python", parameters={"path": str(path)})
    environment = make_environment(section, 0, None)
    told = [environment.supervised(index) for index in range(60)]
    assert None in told
    assert all(pair is None or int(pair[0].split()[1][:-1]) * 2 == int(pair[1]) for pair in told)
    tokenizer = byte_tokenizer()
    examples = environment_examples(environment, tokenizer)
    taught = [tokenizer.decode(examples(index)[1]) for index in range(60)]
    assert all(answer.isdecimal() for answer in taught)
    path.write_text(SOME_ANSWERS.replace("% 3 == 0", "< 0"))
    with pytest.raises(ValueError, match="no answer to 256 tasks in a row, from number 7 on"):
        environment_examples(make_environment(section, 0, None), tokenizer)(7)
