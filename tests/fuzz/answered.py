"""Readers of whoever trains at a door: files of examples, what a door answers, where a course stands."""

import json
import tempfile
from pathlib import Path

from archipel.door.client import files, kept, said
from archipel.door.client.examples import BadExamples, examples_of, read_line
from archipel.door.wire import answers
from archipel.model.chat import InvalidChat
from archipel.model.tokenizer import UnknownText, byte_tokenizer
from archipel.training.tenants.operations import Scored
from fuzz.reading import Reader

FORMS = (said.Capabilities, said.SessionMade, said.Promise, said.Ended, said.FileUrls)
DIGEST = "ab" * 32
CHAT = byte_tokenizer().with_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")


def readers() -> dict[str, Reader]:
    """One for each."""
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    lines = ({"messages": turns}, {"prompt": "a", "completion": "b"}, {"text": "ab"})
    told = (
        {"supported_models": [{"model_name": "m", "max_context_length": 8}]},
        {"session_id": "s", "request_id": "r", "model_id": "m"},
        {"path": "tinker://m/weights/a", "metrics": {"loss:sum": 1.5}},
        {"urls": {"a": "http://door/files/a"}},
        {"error": "no", "category": "user"},
    )
    standing = kept.Standing(digest=DIGEST, step=3, checkpoint="tinker://m/weights/a")
    return {
        "lines of examples": Reader(
            lambda data: list(examples_of(read_line(data), CHAT)),
            tuple(json.dumps(each).encode() for each in lines),
            (BadExamples, InvalidChat, UnknownText),
        ),
        "answers of a door": Reader(
            _any_answer, tuple(json.dumps(each).encode() for each in told), (said.BadAnswer,)
        ),
        "losses of a door": Reader(
            said.loss_of, (answers.scored(Scored((), {"loss:sum": 2.0}), True).body,), (said.BadAnswer,)
        ),
        "refusals of a door": Reader(
            lambda data: said.fault_of(422, data), (b'{"detail": "no"}',), ()
        ),
        "where a course stands": Reader(
            _standing, (standing.model_dump_json().encode(),), (kept.AnothersCourse,)
        ),
        "an adapter's configuration from a door": Reader(
            lambda data: files._check(data, 8, "tinker://m/sampler_weights/a"),
            (b'{"peft_type": "LORA", "r": 8}',),
            (said.BadAnswer,),
        ),
    }  # fmt: skip


def _any_answer(data: bytes) -> None:
    """As each of the forms; refused only where all refuse it."""
    refused: list[said.BadAnswer] = []
    for form in FORMS:
        try:
            said.said_as(form, data)
        except said.BadAnswer as why:
            refused.append(why)
    if len(refused) == len(FORMS):
        raise refused[-1]


def _standing(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / kept.FILE).write_bytes(data)
        kept.read_standing(Path(folder), DIGEST)
