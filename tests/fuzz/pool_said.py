"""Readers of what a pool's gateway and devices say to each other."""

import json
import tempfile
from functools import cache
from pathlib import Path

import torch

from archipel.engine.arithmetic import FloatArithmetic
from archipel.model.config import DecoderConfig
from archipel.model.directory import InvalidModel, read_tensors, write_model
from archipel.model.network import random_weights
from archipel.records.canonical import canonical_json
from archipel.serve.pool import messages
from archipel.serve.pool.links import LinkLost, read_header
from archipel.serve.pool.said_passes import read_holding
from archipel.serve.pool.stage import Gift, Refused, Stage
from archipel.serve.pool.weights import Copies, names_of
from fuzz.reading import Reader

CONFIG = DecoderConfig("llama", 16, 8, 2, 2, 1, 4, 16, 64)
NAMES = names_of(CONFIG, (1, 2))
ROWS = messages.Rows(dtype="float32", shape=(2, 8))


@cache
def _weights() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder) / "model", random_weights(CONFIG, 1), CONFIG)
        return (Path(folder) / "model" / "model.safetensors").read_bytes()


def _tensors(data: bytes) -> object:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.safetensors").write_bytes(data)
        return read_tensors(Path(folder), NAMES, CONFIG, torch.bfloat16)


def _answered(data: bytes) -> object:
    """What a device that holds two layers makes of any message with rows that fit."""
    return _stage().answer(messages.message_of(read_header(data)), bytes(2 * 8 * 4))


@cache
def _stage() -> Stage:
    from archipel.engine.ranges import LayerRange

    stage = Stage(Gift("device", 2**20), Copies(None, None))
    numbers = FloatArithmetic(CONFIG, torch.float32, torch.device("cpu"))
    state = {name: each.detach() for name, each in random_weights(CONFIG, 1).named_parameters()}
    stage.take_over(numbers, LayerRange(CONFIG, state, numbers, range(1, 2)))
    stage.answer(messages.Have(num_slots=4, length=64, rows=0), b"")
    return stage


def _said() -> tuple[bytes, ...]:
    through = messages.Through(
        what=messages.SaidNext(positions=(3, 3, 4, 3), written=(3, 3, 4, 3)),
        ranges=((1, 2),),
        rows=ROWS,
        only=(0, 2),
    )
    text = messages.Text(text=3, start=0, total=5, ranges=((1, 2),), rows=ROWS)
    block = messages.SaidBlock(slots=((0, 1), (2,)), lengths=(1, 1), start=0)
    again = messages.SaidAgain(slots=(1, 1), positions=(4, 5))
    said = (
        messages.Ping(),
        messages.Have(num_slots=4, length=64, rows=1),
        text,
        text.model_copy(update={"start": 2}),
        messages.Move(sources=(3,), targets=(1,), length=8),
        through,
        through.model_copy(update={"what": block, "only": None}),
        through.model_copy(update={"what": again, "only": None}),
    )
    return tuple(canonical_json(messages.header_of(each)) for each in said)


def readers() -> dict[str, Reader]:
    """One for each kind."""
    holding = {"config": CONFIG.to_hf(), "weights": dict.fromkeys(NAMES, "sha256:" + "0" * 64)}
    return {
        "pool messages": Reader(_answered, _said(), (LinkLost, Refused)),
        "pool rows": Reader(
            lambda data: messages.unpacked(ROWS, data, 8, torch.float32), (bytes(64),), (LinkLost,)
        ),
        "pool models": Reader(
            lambda data: read_holding(data, (1, 2)), (json.dumps(holding).encode(),), (LinkLost,)
        ),
        "some weights": Reader(_tensors, (_weights(),), (InvalidModel,)),
    }
