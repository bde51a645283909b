"""Readers of what a door and the nodes that do its work send each other."""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from archipel.door.hands import CannotDo
from archipel.door.remote.history import Place
from archipel.door.remote.kept import FILE, read_kept, write_kept
from archipel.model.manifest import WrongTensors
from archipel.records.fields import BlobRef
from archipel.records.payload import BadPayload
from archipel.training.checkpoint import BadCheckpoint
from archipel.training.tenants.operations import (
    Datum,
    ForwardBackward,
    OptimStep,
    Refused,
    Scored,
    Stepped,
)
from archipel.training.tenants.parcels import (
    pack_operations,
    pack_outcomes,
    unpack_operations,
    unpack_outcomes,
)
from archipel.training.tenants.state import FILES, TenantState
from archipel.work.packed import BadFolder, pack_folder, unpack_folder
from archipel.work.question_payloads import (
    pack_answers,
    pack_questions,
    unpack_answers,
    unpack_questions,
)
from archipel.work.questions import Completion, Question, Sampled, TopK
from fuzz.reading import Reader
from one_base import CONFIG, FORM

DATUM = Datum(
    np.array([1, 2, 3], np.int32),
    {"target_tokens": np.array([2, 3, 4]), "weights": np.ones(3, np.float32)},
)
TURN = (ForwardBackward((DATUM,), "ppo", {"clip_low_threshold": 0.8}), OptimStep(1e-3))
CAME = (Scored((np.zeros(3, np.float32),), {"loss:sum": 1.0}), Stepped({"norm": 2.0}))
QUESTION = Question(
    prompt=(1, 2),
    num_samples=1,
    max_tokens=2,
    seed=3,
    temperature=1.0,
    top_k=-1,
    top_p=0.9,
    stop_strings=("\n",),
    prompt_logprobs=True,
    topk_sample_logprobs=2,
    target_prompt_tokens=((1, 5), (1, 6)),
)
NAMES = frozenset({"state.safetensors", "more"})
ROW = np.array([np.nan, -1.0], np.float32)
TOP = TopK(np.ones((2, 2), np.int32), np.zeros((2, 2), np.float32))
SAMPLED = Sampled((Completion((4, 5), (-1.0, -2.0), "stop", TOP),), ROW, None, ROW, 4)


def _folder(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as own:
        (Path(own) / "blob").write_bytes(data)
        unpack_folder(Path(own) / "blob", NAMES, Path(own) / "folder")


def _packed() -> bytes:
    with tempfile.TemporaryDirectory() as own:
        folder = Path(own) / "folder"
        folder.mkdir()
        for name in NAMES:
            (folder / name).write_bytes(name.encode())
        pack_folder(folder, Path(own) / "blob")
        return (Path(own) / "blob").read_bytes()


def _kept(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as own:
        (Path(own) / FILE).write_bytes(data)
        read_kept(Path(own), "run")


def _place() -> bytes:
    with tempfile.TemporaryDirectory() as own:
        state = BlobRef(digest=f"sha256:{'0' * 64}", size=3)
        write_kept(Path(own), "run", Place(number=3, state=state))
        return (Path(own) / FILE).read_bytes()


def _state(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as own:
        (Path(own) / FILES[0]).write_bytes(data)
        TenantState.read(Path(own), None, CONFIG)


def _written() -> bytes:
    with tempfile.TemporaryDirectory() as own:
        TenantState.drawn(FORM, CONFIG, 1).write(Path(own))
        return (Path(own) / FILES[0]).read_bytes()


def readers() -> dict[str, Reader]:
    """One of each payload."""
    outcomes = partial(unpack_outcomes, operations=TURN)
    said = (pack_outcomes(CAME), pack_outcomes((Refused("no"), CAME[1])))
    answers = partial(unpack_answers, questions=(QUESTION,))
    answered = (pack_answers((SAMPLED,)), pack_answers((Refused("no"),)))
    asked = pack_questions((QUESTION,))
    return {
        "states of tenants": Reader(_state, (_written(),), (BadCheckpoint, WrongTensors)),
        "packed folders": Reader(_folder, (_packed(),), (BadFolder,)),
        "places where a model goes on": Reader(_kept, (_place(),), (CannotDo,)),
        "questions": Reader(unpack_questions, (asked,), (BadPayload,)),
        "answers to questions": Reader(answers, answered, (BadPayload,)),
        "operations of a turn": Reader(unpack_operations, (pack_operations(TURN),), (BadPayload,)),
        "outcomes of a turn": Reader(outcomes, said, (BadPayload,)),
    }
