"""More readers of foreign bytes: files that people fetch or write, answers of labs, words of children."""

import json
import os
import selectors
import socket
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import torch

from archipel.cli.doors import Mendable
from archipel.cli.exams import _check_report
from archipel.cli.ledger_reader import LabUnreadable
from archipel.cli.ledger_reader import _entry as entry_told
from archipel.cli.quoted import put
from archipel.cli.recipes import shipped_recipes
from archipel.cli.run_ledger import _entry as entry_read
from archipel.identity import BadKeyFile, Identity
from archipel.ledger.location import open_log, read_log
from archipel.ledger.signed_note import BadNote, NoteKey
from archipel.ledger.storage import LedgerError
from archipel.ledger.verification import lab_key
from archipel.model.config import DecoderConfig
from archipel.model.config_files import InvalidModel
from archipel.model.directory import read_model, write_model
from archipel.model.network import Decoder
from archipel.model.tokenizer import Tokenizer, byte_tokenizer
from archipel.model.tokenizer_files import InvalidTokenizer
from archipel.model.weight_files import stored_kinds
from archipel.node.earnings import read_account
from archipel.node.exchange import LabRefused, refusal
from archipel.node.known_labs import FILE, known_labs
from archipel.node.patience import NodeFailed
from archipel.node.small_files import Unreadable
from archipel.planning.mistakes import CannotPlan
from archipel.planning.recipe import recipe_text, sizes_of
from archipel.planning.tables import read_own
from archipel.records import documents
from archipel.records.kinds.evaluate import EvaluateAnswer
from archipel.records.payload import BadPayload
from archipel.training.checkpoint import BadCheckpoint, read_file, write_file
from archipel.training.environments.apart import _Talk
from archipel.training.environments.jsonl import BadProblemFile, read_problems
from archipel.training.environments.task import InvalidEnvironment
from archipel.training.grading_pipe import Child, ChildLost
from archipel.work.grading.cell import CellLost, _checked
from archipel.work.messages import BadMessage, read_setup, read_step
from archipel.work.readiness import _check_tensors
from fuzz.reading import Reader
from specimens import ANSWERS

SIGNER = Identity.from_seed(bytes(31) + b"\x0b")
KEY = lab_key(SIGNER.did)
MAX_TOLD_BYTES = 50_000
"""What fits into a pipe at once."""
CONFIG = DecoderConfig.from_hf(
    {
        "model_type": "llama",
        "vocab_size": 16,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "max_position_embeddings": 32,
        "eos_token_id": 2,
    }
)


def in_file(
    name: str, read: Callable[[Path], object], beside: Mapping[str, bytes] | None = None
) -> Callable[[bytes], object]:
    """Read bytes as a file of this name, in a folder with other files."""

    def reader(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            for other, content in (beside or {}).items():
                (Path(folder) / other).write_bytes(content)
            path = Path(folder) / name
            path.touch(0o600)
            path.write_bytes(data)
            return read(path)

    return reader


def _written(write: Callable[[Path], object]) -> dict[str, bytes]:
    """The files that `write` leaves in a folder."""
    with tempfile.TemporaryDirectory() as name:
        write(Path(name) / "made")
        made = Path(name) / "made"
        files = sorted(made.iterdir()) if made.is_dir() else [made]
        return {file.name: file.read_bytes() for file in files}


def readers() -> dict[str, Reader]:
    """By name."""
    return _model_folders() | _files_of_people() | _ledgers() | _answers() | _children()


def _model_folders() -> dict[str, Reader]:
    torch.manual_seed(5)
    model = Decoder(CONFIG)
    small = _written(lambda path: write_model(path, model, CONFIG))
    parts = _written(lambda path: write_model(path, model, CONFIG, shard_bytes=600))

    def weights(file: Path) -> object:
        stored_kinds(file.parent)
        _check_tensors(file.parent, CONFIG)
        return read_model(file.parent)

    tokens = _written(lambda path: (path.mkdir(), byte_tokenizer().write(path)))
    words, settings = "tokenizer.json", "tokenizer_config.json"
    single, index = "model.safetensors", "model.safetensors.index.json"
    rules = json.loads(tokens[settings])
    stock = json.dumps(rules | {"tokenizer_class": "Qwen2Tokenizer"}).encode()

    def tokenizer(file: Path) -> object:
        return Tokenizer.from_directory(file.parent).decode([1, 2])

    broken = (InvalidModel,)
    return {
        "weights": Reader(in_file(single, weights, small), (small[single],), broken),
        "weight indices": Reader(in_file(index, weights, parts), (parts[index],), broken),
        "tokenizers": Reader(
            in_file(words, tokenizer, tokens), (tokens[words],), (InvalidTokenizer,)
        ),
        "tokenizer settings": Reader(
            in_file(settings, tokenizer, tokens), (tokens[settings], stock), (InvalidTokenizer,)
        ),
        "checkpoints": Reader(
            in_file("one", read_file),
            tuple(_written(lambda path: write_file(path, 3, _tensors(), {"a": 1})).values()),
            (BadCheckpoint,),
        ),
    }


def _tensors() -> dict[str, torch.Tensor]:
    return {"a": torch.ones(3), "b": torch.zeros(2, 2, dtype=torch.bfloat16)}


def _files_of_people() -> dict[str, Reader]:
    problems = (
        b'{"question": "1 + 1?", "answer": "#### 2"}\n{"question": "2?", "answer": "#### 3"}\n'
    )
    key = _written(Identity.load_or_create)["made"]
    plan = json.dumps({"question": "lab", "request": {"kind": "h100"}}).encode()
    table = (
        b'[rental.h100]\nvalue = 1.5\nunit = "USD/(accelerator*h)"\n'
        b'kind = "measured"\nsource = "our invoice of March"\n'
    )
    base = tuple(text.encode() for text in shipped_recipes().values())

    def sizes(data: bytes) -> object:
        text = data.decode("utf-8", "replace")
        return recipe_text(text, sizes_of(text), 3, ["a note"])

    return {
        "problem files": Reader(in_file("p.jsonl", read_problems), (problems,), (BadProblemFile,)),
        "key files": Reader(in_file("k", Identity.load), (key,), (BadKeyFile,)),
        "saved plans": Reader(
            in_file("p.json", lambda path: put(str(path))), (plan,), (Mendable, CannotPlan)
        ),
        "own tables": Reader(
            lambda data: read_own(data.decode("utf-8", "replace"), "own"), (table,), (CannotPlan,)
        ),
        "recipes to plan from": Reader(sizes, base, (CannotPlan,)),
        "small files of a node": Reader(
            in_file("a.json", read_account),
            (b'{"lab": "did:key:z6Mk", "days": {"2026-01-01": {"works": 2}}}',),
            (Unreadable,),
        ),
        "known labs": Reader(
            in_file(FILE, lambda path: known_labs(path.parent)),
            (b'{"http://lab": {"lab": "did:key:z6Mk", "since_s": 3}}',),
            (NodeFailed,),
        ),
    }


def _ledgers() -> dict[str, Reader]:
    def made(folder: Path) -> None:
        folder.mkdir()
        log = open_log(folder / "l", KEY.name, SIGNER)
        for number in range(3):
            log.append([b'{"entry":%d}' % number])
        log.close()

    whole = _written(made)

    def read(file: Path) -> object:
        log = read_log(file.parent / "l", KEY)
        try:
            return log.read(0, 10)
        finally:
            log.close()

    beside = {name: whole[name] for name in ("l", "l.head")}
    return {
        "ledger files": Reader(in_file("l", read, beside), (whole["l"],), (LedgerError,)),
        "head files": Reader(in_file("l.head", read, beside), (whole["l.head"],), (LedgerError,)),
        "verifier keys": Reader(
            lambda data: NoteKey.from_text(data.decode("utf-8", "replace")),
            (KEY.to_text().encode(),),
            (BadNote,),
        ),
    }


def _answers() -> dict[str, Reader]:
    """Of a lab: its documents, and its refusals, which are an error by themselves."""
    view = {"run": "r", "waiting_for": "x", "owner": "o", "left_s": None, "advice": "a"}
    shown = {
        documents.LabFacts: {
            "lab": "did",
            "software": "a",
            "operators": ["did"],
            "ledger_key": "k",
            "ledger_size": 3,
            "founding": "{}",
        },
        documents.KeyFacts: {"did": "did", "last_seq": 3, "now_ms": 5},
        documents.Submitted: {"record": "{}", "next": {"request": "{}", "have": {"runs": {}}}},
        documents.Handout: {"grant": "{}", "versions": ["{}"], "inputs": None},
        documents.UploadState: {"complete": False, "offset": 3},
        documents.Wait: view,
    }

    def read(data: bytes) -> None:
        for kind in shown:
            with suppress(documents.BadDocument):
                documents.read_document(kind, data)

    def refused(data: bytes) -> Exception:
        made = refusal(httpx.Response(400), data, "http://lab")
        assert str(made)
        return made

    problem = {"type": "https://archipel.invalid/problems/late-result", "detail": "too late"}
    answer = ANSWERS["evaluate"]
    assert isinstance(answer, EvaluateAnswer)
    exam: Any = SimpleNamespace(answer=answer)
    report = json.dumps({"version": answer.version, "metrics": dict(answer.metrics)}).encode()
    return {
        "reports of evaluations": Reader(
            lambda data: _check_report(exam, data), (report,), (BadPayload,)
        ),
        "documents of a lab": Reader(
            read, tuple(json.dumps(each).encode() for each in shown.values()), ()
        ),
        "refusals of a lab": Reader(refused, (json.dumps(problem).encode(),), ()),
        "entries as a lab tells them": Reader(
            lambda data: entry_told(data.decode("latin-1"), 3), (b"eyJhIjoxfQ==",), (LabUnreadable,)
        ),
        "entries of a run": Reader(
            lambda data: entry_read(data.decode("latin-1"), 3), (b"eyJhIjoxfQ==",), (LabRefused,)
        ),
    }


def _children() -> dict[str, Reader]:
    """What comes from processes that run others' code, and files between a parent and its child."""
    setup = {
        "kinds": ["rollout"],
        "scratch": "/tmp",
        "readable": ["/tmp"],
        "memory": None,
        "threads": 1,
        "engine": "archipel",
        "dtype": "float32",
        "device": "cpu",
        "max_memory_bytes": None,
        "max_file_bytes": 3,
        "trusted": False,
    }
    step = json.dumps({"inputs": [], "blobs": {}}).encode()
    return {
        "words of a grading cell": Reader(_checked, (b'{"reward": 0.5}\n',), (CellLost,)),
        "words of a grading process": Reader(
            _graded, (b'{"reward": 0.5}\n', b'{"ready": 1}\n'), (ChildLost,)
        ),
        "words of a task process": Reader(
            _told, (b'{"value": ["p", {}]}\n',), (InvalidEnvironment, OSError)
        ),
        "a child's setup": Reader(read_setup, (json.dumps(setup).encode(),), (BadMessage,)),
        "a step to replay": Reader(in_file("step", read_step), (step,), (BadMessage,)),
    }


def _graded(data: bytes) -> object:
    ours, theirs = os.pipe()
    with os.fdopen(theirs, "wb") as pipe:
        pipe.write(data[:MAX_TOLD_BYTES] + b"\n")
    talk = Child.__new__(Child)
    talk._replies, talk._incoming, talk._lines = ours, b"", iter(())
    talk._outgoing = memoryview(b"")
    with selectors.DefaultSelector() as selector:
        talk._selector = selector
        selector.register(ours, selectors.EVENT_READ)
        try:
            return talk.receive(5.0)
        finally:
            os.close(ours)


def _told(data: bytes) -> object:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data[:MAX_TOLD_BYTES] + b"\n")
        theirs.shutdown(socket.SHUT_WR)
        talk = _Talk.__new__(_Talk)
        talk._line, talk._rest = ours, b""
        return talk.ask(["task", "train", 0], 5.0)
