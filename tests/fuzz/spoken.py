"""Readers of what is said: answers of labs, words of children."""

import json
import os
import selectors
import socket
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import httpx

from archipel.cli.exams import _check_report
from archipel.cli.ledger_reader import LabUnreadable
from archipel.cli.ledger_reader import _entry as entry_told
from archipel.cli.run_ledger import _entry as entry_read
from archipel.node.addresses import NotDialled, peer_url
from archipel.node.blob_door import BadHead, read_head
from archipel.node.exchange import LabRefused, refusal
from archipel.records import documents
from archipel.records.document import BadDocument, read_document
from archipel.records.kinds.evaluate import EvaluateAnswer
from archipel.records.payload import BadPayload
from archipel.training.environments.apart import _Talk
from archipel.training.environments.task import InvalidEnvironment
from archipel.training.grading_pipe import Child, ChildLost
from archipel.work.grading.cell import CellLost, _checked
from archipel.work.messages import BadMessage, read_setup, read_step
from fuzz.foreign import in_file
from fuzz.reading import Reader
from specimens import ANSWERS

PEERS_HEAD = (
    b"GET /blobs/sha256:" + b"0" * 64 + b" HTTP/1.1\r\nHost: x\r\nRange: bytes=0-99\r\n\r\n"
)
MAX_TOLD_BYTES = 50_000
"""What fits into a pipe at once."""


def readers() -> dict[str, Reader]:
    """By name."""
    return _answers() | _children()


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
        documents.Handout: {
            "grant": "{}",
            "versions": ["{}"],
            "inputs": None,
            "sources": [
                {
                    "digest": f"sha256:{'0' * 64}",
                    "chunks": ["0" * 64],
                    "peers": [{"node": "did:key:z6Mk", "address": "192.0.2.1:8441"}],
                }
            ],
        },
        documents.UploadState: {"complete": False, "offset": 3},
        documents.Wait: view,
    }

    def read(data: bytes) -> None:
        for kind in shown:
            with suppress(BadDocument):
                read_document(kind, data)

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
        "requests of peers": Reader(read_head, (PEERS_HEAD,), (BadHead,)),
        "addresses of peers": Reader(
            lambda data: peer_url(data.decode("latin-1"), "192.0.2.1"),
            (b"192.0.2.9:8441", b"[2001:db8::1]:8441"),
            (NotDialled,),
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
