"""More readers of foreign bytes: files that people fetch or write."""

import dataclasses
import json
import math
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from archipel.cli.doors import Mendable
from archipel.cli.quoted import put
from archipel.cli.recipes import shipped_recipes
from archipel.engine.exact.choice import BadChoice, Choice, carry_choice, read_choice, write_choice
from archipel.engine.exact.scoring import Figures
from archipel.engine.exact.variants import VARIANTS
from archipel.engine.toploc import BadFingerprint, bits_of, compare, encode
from archipel.identity import BadKeyFile, Identity
from archipel.ledger.anchored_head import BadAnchoredHead, anchored, read_anchored_head
from archipel.ledger.cosignature import cosigned, cosigned_at, witness_key
from archipel.ledger.evm import ChainError, answer_in
from archipel.ledger.location import open_log, read_log
from archipel.ledger.merkle import (
    BadProof,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    nodes_from_leaves,
    root_of,
)
from archipel.ledger.proof_file import proof_text, shown
from archipel.ledger.signed_note import BadNote, NoteKey, open_note
from archipel.ledger.storage import LedgerError
from archipel.ledger.tiles import BadTile, bundle, entries_of
from archipel.ledger.tree_head import sign_tree_head, verify_tree_head
from archipel.ledger.verification import lab_key
from archipel.ledger.witness import BadSubmission, read_submission, submission
from archipel.model.adapter import Adapter, adapter_shapes
from archipel.model.adapter_files import read_adapter, write_adapter
from archipel.model.config import DecoderConfig
from archipel.model.config_files import InvalidModel
from archipel.model.directory import read_model, write_model
from archipel.model.gguf_header import BadGguf
from archipel.model.gguf_import import read_gguf
from archipel.model.gguf_weights import weights_of
from archipel.model.manifest import Over
from archipel.model.network import Decoder
from archipel.model.tokenizer import Tokenizer, byte_tokenizer
from archipel.model.tokenizer_files import InvalidTokenizer
from archipel.model.weight_files import num_weights, stored_kinds
from archipel.node.earnings import read_account
from archipel.node.known_labs import FILE, known_labs
from archipel.node.patience import NodeFailed
from archipel.node.small_files import Unreadable
from archipel.planning.mistakes import CannotPlan
from archipel.planning.model_config import read_config, reduced
from archipel.planning.recipe import pace_for, recipe_text, sizes_of
from archipel.planning.tables import read_own
from archipel.proofs.record import BadCalibration, Calibration, Pair
from archipel.records.recipe_model import AdapterSection
from archipel.training.checkpoint import BadCheckpoint, read_file, write_file
from archipel.training.environments.jsonl import BadProblemFile, read_problems
from archipel.training.environments.judgement import (
    Ask,
    BadJudgement,
    Judgement,
    read_judgement,
)
from archipel.training.inner.replaying import BadState, read_state, write_state
from archipel.training.inner.state import fresh_state
from archipel.training.inner.terms import InnerTerms
from archipel.training.judge import BadReply, chat_content
from archipel.work.folders import folder_of
from archipel.work.merged import read_standing
from archipel.work.readiness import _check_tensors
from fuzz.reading import Reader
from gguf_files import file_of, small_facts, small_tensors

SIGNER = Identity.from_seed(bytes(31) + b"\x0b")
KEY = lab_key(SIGNER.did)
FINGERED = bits_of(np.arange(-32, 32, dtype=np.float32) ** 3).reshape(-1)
CALIBRATED = Calibration(
    model="sha256:" + "0" * 64,
    machine="x86_64",
    made="2026-01-01T00:00:00+00:00",
    confidence=0.95,
    plan={"groups": 20},
    pairs=(
        Pair(
            prover="fp32",
            verifier="bf16",
            honest=20,
            usable=True,
            thresholds={"flips": 0.01},
            false_at_most=0.2,
            cheats={},
            overlaps=(),
            watched={},
        ),
    ),
).to_bytes()
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
    return (
        _model_folders()
        | _gguf_files()
        | _choices()
        | _adapters()
        | _files_of_people()
        | _ledgers()
        | _judged()
    )


def _judged() -> dict[str, Reader]:
    """What a judge's address answers, and what a grading process says of one text."""
    chat = b'{"choices":[{"message":{"role":"assistant","content":"7 of 10"}}],"usage":{"n":1}}'
    judgements = (
        Judgement(0.5, {"part_right": 1.0, "metric_length": 3.0}),
        Judgement(asks=(Ask("program", "print(1)", "2"), Ask("judge", "how good?"))),
        Judgement(said="3"),
    )

    def judgement(data: bytes) -> object:
        told = json.loads(data)
        return read_judgement(told if isinstance(told, dict) else {})

    lines = tuple(json.dumps(each.fields()).encode() for each in judgements)
    return {
        "chat completions": Reader(chat_content, (chat,), (BadReply,)),
        "judgements": Reader(judgement, lines, (BadJudgement, ValueError, RecursionError)),
    }


def _gguf_files() -> dict[str, Reader]:
    def read(data: bytes) -> object:
        view = memoryview(data)
        header, config, _ = read_gguf(view)
        return weights_of(view, header.tensors, config, torch.float32, lambda done, total: None)

    plain, brain = (file_of(small_facts(), small_tensors(kind)) for kind in (0, 30))
    return {"gguf": Reader(read, (plain, brain), (BadGguf,))}


def _model_folders() -> dict[str, Reader]:
    torch.manual_seed(5)
    model = Decoder(CONFIG)
    small = _written(lambda path: write_model(path, model, CONFIG))
    parts = _written(lambda path: write_model(path, model, CONFIG, shard_bytes=600))

    def weights(file: Path) -> object:
        stored_kinds(file.parent)
        num_weights(file.parent)
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
        "states of inner steps": _inner_states(),
        "standings of merges": Reader(
            in_file("one", read_standing),
            tuple(
                _written(lambda path: write_file(path, 2, _standing(), {"recipe": "r"})).values()
            ),
            (BadCheckpoint,),
        ),
    }


def _standing() -> dict[str, torch.Tensor]:
    """As the trusted role publishes where a version stands."""
    return {"weights.a": torch.ones(3), "memory.momentum.a": torch.zeros(3)}


def _inner_states() -> Reader:
    """As a member reveals them to whoever makes a stretch again."""
    terms = InnerTerms(total_steps=1, batch=1, sequence_length=1, learning_rate=1.0)
    shapes = {"a": (3,), "b": (2, 2)}
    base = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    state = fresh_state(base, terms)
    specimens = _written(lambda path: write_state(path, state))
    read = in_file("one", lambda path: read_state(path, shapes, terms))
    return Reader(read, tuple(specimens.values()), (BadState,))


def _adapters() -> dict[str, Reader]:
    form = AdapterSection(rank=2, targets=("q_proj", "up_proj")).form
    shapes = adapter_shapes(CONFIG, form)
    adapter = Adapter(form, {name: torch.ones(shape) for name, shape in shapes.items()})
    over = Over("sha256:" + "0" * 64, form)
    files = _written(lambda path: write_adapter(path, adapter, over, "/nowhere"))

    def read(file: Path) -> object:
        with suppress(InvalidModel):
            folder_of(file.parent)
        return read_adapter(file.parent, CONFIG)

    return {
        f"{name} of adapters": Reader(
            in_file(name, read, files), (files[name],), (InvalidModel, OSError)
        )
        for name in files
    }


def _tensors() -> dict[str, torch.Tensor]:
    return {"a": torch.ones(3), "b": torch.zeros(2, 2, dtype=torch.bfloat16)}


def _choices() -> dict[str, Reader]:
    """`exact.json`, as it comes with a model directory."""
    state = f"sha256:{'5' * 64}"
    figures = Figures(9, 1e-4, math.nan, 1e-3, 1e-3, 2.5, 0.98)
    choice = Choice(
        "w7a8", VARIANTS["w7a8"].identity, 1e-3, "bf16", {"w7a8": figures}, "sha256:t", state
    )
    carried = dataclasses.replace(choice, measured_on="sha256:first")

    def read(file: Path) -> object:
        carry_choice(file.parent, file.parent, "sha256:next")
        return read_choice(file.parent, "sha256:next")

    (one, other) = (
        _written(lambda path, each=each: (path.mkdir(), write_choice(path, each)))["exact.json"]  # type: ignore[misc]
        for each in (choice, carried)
    )
    return {"exact choices": Reader(in_file("exact.json", read), (one, other), (BadChoice,))}


CONFIGS = (
    b'{"model_type": "qwen3_moe", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, '
    b'"num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 100, "num_experts": 4, '
    b'"num_experts_per_tok": 2, "moe_intermediate_size": 32, "mlp_only_layers": [0]}',
    b'{"text_config": {"model_type": "gemma3_text", "hidden_size": 64, "num_hidden_layers": 2, '
    b'"num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 100, "kv_lora_rank": 8, '
    b'"qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8, '
    b'"layer_types": ["full_attention", "sliding_attention"]}}',
)


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
    base = tuple(text.encode() for text in shipped_recipes().values() if "[sampling]" in text)

    def sizes(data: bytes) -> object:
        text = data.decode("utf-8", "replace")
        sizes = sizes_of(text)
        return recipe_text(text, sizes, 3, ["a note"], pace_for(text, 30.0, 60.0))

    return {
        "problem files": Reader(in_file("p.jsonl", read_problems), (problems,), (BadProblemFile,)),
        "key files": Reader(in_file("k", Identity.load), (key,), (BadKeyFile,)),
        "saved plans": Reader(
            in_file("p.json", lambda path: put(str(path))), (plan,), (Mendable, CannotPlan)
        ),
        "own tables": Reader(
            lambda data: read_own(data.decode("utf-8", "replace"), "own"), (table,), (CannotPlan,)
        ),
        "configs to plan from": Reader(
            lambda data: read_config(reduced(data, "c"), "c"), tuple(CONFIGS), (CannotPlan,)
        ),
        "recipes to plan from": Reader(sizes, base, (CannotPlan,)),
        "small files of a node": Reader(
            in_file("a.json", read_account),
            (b'{"lab": "did:key:z6Mk", "days": {"2026-01-01": {"works": 2}}}',),
            (Unreadable,),
        ),
        "fingerprints": Reader(
            lambda data: compare(data, FINGERED), (encode(FINGERED),), (BadFingerprint,)
        ),
        "calibrations": Reader(Calibration.from_bytes, (CALIBRATED,), (BadCalibration,)),
        "known labs": Reader(
            in_file(FILE, lambda path: known_labs(path.parent)),
            (b'{"http://lab": {"lab": "did:key:z6Mk", "since_s": 3}}',),
            (NodeFailed,),
        ),
    }


def _shown_without_a_log() -> dict[str, Reader]:
    """Bundles, proofs, and what witnesses are asked and answer."""
    told = [b"one", b"two", b"three"]
    nodes = nodes_from_leaves([leaf_hash(each) for each in told])
    note = sign_tree_head(SIGNER, KEY.name, 3, root_of(told)).note
    key = witness_key("w.example", SIGNER.public_key)
    signed = note + cosigned(open_note(note, KEY), key.name, SIGNER, 7).encode()
    proof = proof_text(1, inclusion_proof(1, 3, nodes), note)
    asked = submission(2, tuple(consistency_proof(2, 3, nodes)), note)
    anchor = anchored(verify_tree_head(note, KEY), 1, "0x" + "5e" * 32, 7).to_bytes()
    answer = b'{"id":1,"jsonrpc":"2.0","result":{"blockNumber":"0x7","input":"0x61"}}'
    return {
        "bundles": Reader(lambda data: entries_of(data, 3), (bundle(told),), (BadTile,)),
        "proof files": Reader(lambda data: shown(data, told[1], KEY), (proof,), (BadProof,)),
        "witness requests": Reader(read_submission, (asked,), (BadSubmission,)),
        "cosignatures": Reader(lambda data: cosigned_at(data, key), (signed,), (BadNote,)),
        "anchored heads": Reader(read_anchored_head, (anchor,), (BadAnchoredHead,)),
        "chain answers": Reader(lambda data: answer_in(data, 1), (answer,), (ChainError,)),
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
        **_shown_without_a_log(),
        "verifier keys": Reader(
            lambda data: NoteKey.from_text(data.decode("utf-8", "replace")),
            (KEY.to_text().encode(),),
            (BadNote,),
        ),
    }
