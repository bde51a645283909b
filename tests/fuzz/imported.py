"""Readers of what an observatory takes in: others' tables, lists, model files, and a fetch's journal."""

import functools
import io
import json
from collections.abc import Callable
from typing import BinaryIO

from archipel.observatory.fetching.journal import BadJournal, Begun, Page, parse_journal
from archipel.observatory.importers import benchmarks, epoch, hugging_face, leaderboard, mot
from archipel.observatory.importers.adding import added
from archipel.observatory.importers.aliases import names_of, read_aliases
from archipel.observatory.importers.lines import BadTable
from archipel.observatory.importers.taking import Taking
from archipel.observatory.manifest import Source
from archipel.observatory.snapshot import About
from archipel.records.canonical import canonical_json, sha256_digest
from fuzz.reading import Reader
from recorded_hub import model

DAY = "2026-11-27"
EPOCH = (
    b"Model,Publication date,Organization,Country (of organization),Model accessibility,Domain,Parameters\n"
    b'Wren 7B,2025-01-02,"Aviary,Other",France,Open weights (unrestricted),Language,7000000000.0\n'
)
BENCHMARKS = b"System,Date,Open/Closed,MMLU,LMSys Elo\nA,2024-01-01,Open,0.7045,1204\n"
BOARD = b"Rank,Model,Organization,License,Score\n1,A,B,MIT,1300.5\n"
MOT = (
    b"release:\n  name: Amber\n  date: '2025-05-22'\n  producer: LLM360\n  huggingface: LLM360/Amber\n"
    b"  license: {distribution: {name: Apache-2.0}}\n  components: [{name: Model card}]\n"
)


def _taken(kind: str, take: Callable[[BinaryIO, Taking], None], data: bytes) -> object:
    """As far as a snapshot, whose rows must fit each other whatever came."""
    source = Source(
        id=f"{kind}-x", title="t", url="u", retrieved=DAY, hand="read", licence="unknown"
    )
    taking = Taking(source, names_of(kind, None))
    take(io.BytesIO(data), taking)
    return added(taking, About("a", DAY, 0, ()))


def _model_file(file: BinaryIO, taking: Taking) -> None:
    mot.take_file(file.read(), "a.yml", taking)


def _journal() -> bytes:
    page = Page(
        number=1,
        url="http://h/1",
        sha256=sha256_digest(b""),
        num_bytes=0,
        num_facts=0,
        tag="",
        retrieved=DAY,
        next=None,
    )
    lines = (Begun(what="epoch", url="http://h/1", limit=5), page)
    return b"".join(canonical_json(each.model_dump(mode="json")) + b"\n" for each in lines)


def readers() -> dict[str, Reader]:
    """By name."""
    listed = json.dumps([model(1), model(2)]).encode()
    lines = b"\n".join(json.dumps(model(n)).encode() for n in (1, 2))
    takers: dict[str, tuple[Callable[[BinaryIO, Taking], None], tuple[bytes, ...]]] = {
        "epoch": (epoch.take, (EPOCH,)),
        "benchmarks": (benchmarks.take, (BENCHMARKS,)),
        "leaderboard": (leaderboard.taking_of("arena"), (BOARD,)),
        "huggingface": (hugging_face.take, (listed, lines)),
        "mot": (_model_file, (MOT,)),
    }
    return {
        f"imports of {kind}": Reader(functools.partial(_taken, kind, take), specimens, (BadTable,))
        for kind, (take, specimens) in takers.items()
    } | {
        "aliases of models": Reader(
            lambda data: read_aliases(io.BytesIO(data)),
            (b"kind,name,id\nmodel,a,b/c\n",),
            (BadTable,),
        ),
        "journals of a fetch": Reader(parse_journal, (_journal(),), (BadJournal,)),
    }
