"""Several engines behind one node give what one gives, and one that ends takes nothing else with it."""

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from archipel.engine.engine import LocalEngine
from archipel.model.directory import write_model
from archipel.model.network import random_weights
from archipel.model.stop_strings import StopStrings
from archipel.model.tokenizer import character_tokenizer
from archipel.records.cuts import Cut
from archipel.records.requests import Allowed, InvalidRequest, Request
from archipel.records.rollouts import Rollout
from archipel.work import crew as crew_module
from archipel.work.crew import Crew, Job
from archipel.work.crew_member import Member
from archipel.work.crew_messages import (
    Load,
    Sample,
    Sampled,
    Start,
    read_from_member,
    read_to_member,
)
from archipel.work.crew_requests import heard, told
from archipel.work.dealing import dealt
from archipel.work.engines import end, make_adapting_engine, make_engine
from archipel.work.kind import EngineChoice, MachineUnfit, WorkFailed
from archipel.work.messages import BadMessage, Done, read_from_child, to_line
from engine.engine_models import lively_state, ragged_requests, small_config
from engine.vllm_trial import FORMS, adapter_of
from work import asked
from work import test_child as child

torch.set_num_threads(1)
ROOT = Path(__file__).parents[2]
CONFIG = small_config()
REQUESTS = ragged_requests(64, (3, 9, 17, 40, 5))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    write_model(folder, lively_state(CONFIG), CONFIG, character_tokenizer())
    (folder / "model.safetensors").unlink()
    return folder


@pytest.mark.parametrize("engines", [1, 2, 3, 7])
@pytest.mark.parametrize("groups", [1, 2, 5])
def test_every_rollout_is_dealt_once_and_nobody_idles(engines: int, groups: int) -> None:
    requests = [Request(str(n), (1,) * (n + 1), n, 7, 4) for n in range(groups)]
    deals = dealt(requests, engines)
    given = sorted(
        (number, rollout)
        for deal in deals
        for number, part in deal
        for rollout in range(part.first_rollout, part.first_rollout + part.num_rollouts)
    )
    assert given == [(number, rollout) for number in range(groups) for rollout in range(7)]
    assert all(deals), "7 rollouts are enough for everybody"
    whole = groups >= 2 * engines
    assert (sum(map(len, deals)) == groups) == (whole or engines == 1)


def test_a_member_samples_as_the_engine_in_this_process(model: Path, tmp_path: Path) -> None:
    state, answers = lively_state(CONFIG, seed=3), io.BytesIO()
    start = Start(
        model=model, engine="archipel", dtype="float32", device="cpu", contract=None, rank=None,
        threads=1,
    )  # fmt: skip
    member = Member(start, answers)
    save_file(state, tmp_path / "state.safetensors")
    member.answer(Load(file=tmp_path / "state.safetensors"))
    said = member.answer(told(REQUESTS[:2], None))
    reply = read_from_member(to_line(said))
    engine = LocalEngine(CONFIG)
    engine.load(state)
    assert isinstance(reply, Sampled)
    assert list(reply.groups) == engine.generate(REQUESTS[:2])
    with pytest.raises(BadMessage, match="between engines"):
        read_from_member(b'{"say":"nonsense"}')


def test_bytes_of_a_rollout_that_are_no_text_come_over_the_pipe_as_they_are() -> None:
    one = Rollout((1,), (0.0,), finished=True, experts=b"\xff\x00", fingerprints=b"\xff\xd9")
    message = Sampled(groups=((one,),))
    assert read_from_member(to_line(message)) == message


def test_what_requests_share_is_told_once_and_means_the_same() -> None:
    vocabulary = character_tokenizer()
    ending = StopStrings.of(["ab", "é"], vocabulary.pieces)
    asked = [
        replace(
            each, ending=ending, allowed=Allowed(frozenset({3, 5, 9 + n % 2})), cut=Cut(top_k=4)
        )
        for n, each in enumerate(REQUESTS)
        if each.temperature > 0
    ]
    message = read_to_member(to_line(told(asked, 7)))
    assert isinstance(message, Sample)
    assert len(message.stops) == 1
    assert len(message.allowed) == 2
    for one, other in zip(asked, heard(message, lambda: vocabulary.pieces), strict=True):
        assert replace(one, allowed=None, ending=None) == replace(other, allowed=None, ending=None)
        assert one.allowed is not None
        assert other.allowed is not None
        assert one.allowed.tokens == other.allowed.tokens
        assert isinstance(other.ending, StopStrings)
        assert other.ending.texts == ending.texts
    with pytest.raises(MachineUnfit, match="take one engine"):
        told([replace(asked[0], ending=_Never())], None)


class _Never:
    def after(self, state: int, token: int) -> int:
        return state


@pytest.mark.slow
def test_two_engines_sample_what_one_samples_version_after_version(model: Path) -> None:
    one, two = EngineChoice(), EngineChoice(engines=2)
    first = lively_state(CONFIG, seed=3)
    alone, crew = make_engine(model, first, one), make_engine(model, first, two)
    try:
        told: list[int] = []
        assert crew.generate(REQUESTS, told.append) == alone.generate(REQUESTS)
        assert crew.generate(REQUESTS[:1]) == alone.generate(REQUESTS[:1]), "one group in parts"
        second = lively_state(CONFIG, seed=4)
        alone.load(second)
        crew.load(second)
        assert crew.generate(REQUESTS) == alone.generate(REQUESTS)
        with pytest.raises(WorkFailed, match="prompt has a token outside"):
            crew.generate([replace(REQUESTS[0], prompt=(64,))])
        assert crew.generate(REQUESTS[:2]) == alone.generate(REQUESTS[:2]), "after a failure"
    finally:
        end(crew)


@pytest.mark.slow
def test_adapters_go_to_every_engine_and_a_crew_that_lost_one_starts_anew(model: Path) -> None:
    state = lively_state(CONFIG, seed=3)
    crew = make_adapting_engine(model, state, EngineChoice(engines=2), 12)
    alone = make_adapting_engine(model, state, EngineChoice(), 12)
    assert isinstance(crew, Crew)
    try:
        for name, form in zip("ab", FORMS, strict=True):
            for engine in (alone, crew):
                engine.adapt(name, adapter_of(CONFIG, form, 1))
        named = [replace(each, adapter=name) for each, name in zip(REQUESTS, "ababa", strict=True)]
        assert crew.generate(named) == alone.generate(named)
        os.kill(crew._members[1].process.pid, signal.SIGKILL)
        with pytest.raises(MachineUnfit, match=r"engine \d of 2 on this machine ended"):
            crew.generate(named)
        assert crew.generate(named) == alone.generate(named)
        crew.adapt("a", None)
        with pytest.raises(WorkFailed, match="not loaded"):
            crew.generate(named[:1])
        alone.adapt("a", None)
        with pytest.raises(InvalidRequest, match="not loaded"):
            alone.generate(named[:1])
    finally:
        end(crew)


@pytest.mark.slow
def test_an_engine_that_cannot_start_says_why(model: Path) -> None:
    job = Job(model, EngineChoice(device="xpu", engines=2))
    with pytest.raises(MachineUnfit, match="device xpu is not available"):
        Crew(job).load(lively_state(CONFIG))


@pytest.mark.slow
def test_a_confined_work_process_with_two_engines_answers_as_with_one(tmp_path: Path) -> None:
    folder, found = tmp_path.resolve(), []
    write_model(folder / "model", random_weights(child.CONFIG, 0), child.CONFIG, asked.TOKENIZER)
    for engines in (1, 2):
        given = child.setup(folder, "rollout").model_copy(
            update={"engines": engines, "readable": (folder, ROOT / "src")}
        )
        work = child.rollout_work(folder, folder / "model", engines)
        environment = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(ROOT / "src"),
            "TMPDIR": str(folder / "scratch"),
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            [sys.executable, "-m", "archipel.work.child"],
            input=to_line(given) + to_line(work),
            env=environment, capture_output=True, timeout=280, check=False,
        )  # fmt: skip
        reply = read_from_child(done.stdout.splitlines()[-1])
        assert isinstance(reply, Done), (reply, done.stderr[-2000:])
        found.append(load_file(reply.files["rollouts"]))
    assert found[0].keys() == found[1].keys() >= {"tokens", "logprobs", "lengths"}
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def crew_of(model: Path, program: str) -> tuple[Crew, subprocess.Popen[bytes]]:
    """A crew whose one member is this program."""
    crew = Crew(Job(model, EngineChoice("archipel", "float32", "cpu", engines=1)))
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    crew._members.append(crew_module._Member(process))
    return crew, process


@pytest.mark.parametrize(
    "program",
    [
        "import time; time.sleep(60)",
        "import os\nwhile True: os.write(1, b'x' * 1000)",
    ],
    ids=["hangs", "only talks"],
)
def test_an_engine_that_does_not_listen_is_ended_in_time(
    model: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(crew_module, "TAKE_LIMIT_S", 0.2)
    monkeypatch.setattr(crew_module, "END_LIMIT_S", 0.1)
    crew, process = crew_of(model, program)
    allowed = Allowed(frozenset(range(100_000)))
    with pytest.raises(MachineUnfit, match=r"did not listen|ended"):
        crew.generate([replace(REQUESTS[0], allowed=allowed)])
    assert process.poll() is not None


def test_an_engine_that_talks_without_an_answer_ends_with_its_time(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long its line, reading it costs as much as it is long."""
    monkeypatch.setattr(crew_module, "END_LIMIT_S", 0.1)
    crew, process = crew_of(model, "import os\nwhile True: os.write(1, b'x' * 1000)")
    with pytest.raises(MachineUnfit, match=r"no answer in|ended"):
        crew._hear(0.3)
    assert process.poll() is not None
    crew, _ = crew_of(
        model, 'import os\nwhile True: os.write(1, b\'{"say":"progress","tokens":1}\\n\')'
    )
    with pytest.raises(MachineUnfit, match="no answer in"):
        crew._hear(0.3)


@pytest.mark.parametrize("pause", ["", "time.sleep(.3); "], ids=["at once", "later"])
def test_an_answer_that_nobody_asked_for_is_never_taken_for_the_next_one(
    model: Path, monkeypatch: pytest.MonkeyPatch, pause: str
) -> None:
    monkeypatch.setattr(crew_module, "END_LIMIT_S", 0.1)
    said = """'{"files":{},"say":"done","values":{}}\\n'"""
    asked = "import os, sys, time\nwhile sys.stdin.readline():\n    "
    crew, process = crew_of(model, f"{asked}os.write(1, b{said}); {pause}os.write(1, b{said})")
    message = crew_module.Forget(name="none")

    def twice() -> None:
        crew._tell(message, 20)
        time.sleep(0.6)
        crew._tell(message, 20)

    with pytest.raises(MachineUnfit, match="ended"):
        twice()
    assert process.poll() is not None
