"""Every reader of foreign bytes: sound specimens, how they are read, and which errors are documented."""

import base64
import json
import tempfile
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from archipel.cli.recipes import shipped_recipes
from archipel.identity import Envelope, Identity, IdentityError, sign
from archipel.lab.entry import read_entry
from archipel.lab.snapshots import BadSnapshot, decode_state, encode_state
from archipel.lab.state import LabState
from archipel.ledger.tree_head import BadTreeHead, sign_tree_head, verify_tree_head
from archipel.ledger.verification import lab_key
from archipel.market.settlement import BadSettlement, Csv, Owed, payouts
from archipel.model.config_files import InvalidModel, read_config
from archipel.model.manifest import BadWeights, Manifest, Over, describe
from archipel.model.tool_calls import BadCall, Call, read_calls, written_call
from archipel.model.versions import apply_delta, decode_anchor, encode_anchor, encode_delta
from archipel.records import documents
from archipel.records.document import BadDocument, read_document
from archipel.records.episodes import EpisodeTerms
from archipel.records.experts import ExpertTerms
from archipel.records.fields import BlobRef
from archipel.records.parcel import MEDIA_TYPE, BadParcel, pack_parcel, unpack_parcel
from archipel.records.payload import BadPayload
from archipel.records.programmes import any_from_canonical, parse_any
from archipel.records.programmes.rl import RlPace
from archipel.records.recipe import recipe_from_canonical
from archipel.records.recipe_form import InvalidRecipe
from archipel.records.recipe_model import AdapterSection
from archipel.records.rollouts import (
    Rollout,
    bounds_of,
    check_rollouts,
    pack_prompts,
    pack_rollouts,
    unpack_prompts,
    unpack_rollouts,
)
from archipel.records.statements import RECORD_TYPE, InvalidRecord, decode, encode
from archipel.records.turns import (
    BadTurns,
    Reply,
    Said,
    TurnsAsked,
    TurnsAwaited,
    TurnsTold,
    decode_word,
    encode_word,
    pack_replies,
    pack_said,
    unpack_replies,
    unpack_said,
)
from archipel.simulation.scenario import CannotSimulate, Scenario
from archipel.simulation.scenarios import read as read_scenario
from archipel.simulation.scenarios import with_settings
from archipel.training.environments.drawers import Drawers
from archipel.work.messages import (
    BadMessage,
    Done,
    Failed,
    ProgressMessage,
    Ready,
    read_from_child,
    read_to_child,
    to_line,
)
from archipel.work.remembered import AskRemembered
from door import PROBLEM_MEDIA_TYPE, Door
from fuzz import (
    answered,
    bucketed,
    carded,
    cascaded,
    contributed,
    corpora_read,
    disputed,
    exported,
    foreign,
    graded,
    imported,
    logged_in,
    mirrored,
    observed_read,
    parted,
    pool_said,
    pooled,
    presented,
    released,
    served,
    shown_entries,
    spoken,
    tenanted,
    turned,
)
from fuzz.reading import Reader
from people import ref
from specimens import POLICY, SMALL
from tiny import tiny_recipe
from world import PACE, World

SIGNER = Identity.from_seed(bytes(31) + b"\x0b")
ORIGIN = lab_key(SIGNER.did).name


def _entry_of(payload: bytes) -> bytes:
    """Signed by somebody, so that a reader comes to the statement inside."""
    return b'{"at_ms":1,"record":%b}' % sign(SIGNER, payload[:60_000], RECORD_TYPE).to_json()


def _weights(number: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(number)
    shapes = {"a": (4, 8), "b.c": (7,), "d": (1, 1, 3)}
    return {name: torch.randn(shape).to(torch.bfloat16) for name, shape in shapes.items()}


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _config(data: bytes) -> object:
    """From a file, as it comes in a foreign model directory."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_bytes(data)
        return read_config(Path(folder))


def _readers() -> dict[str, Reader]:
    return (
        _records()
        | _payloads()
        | _versions()
        | _texts()
        | foreign.readers()
        | spoken.readers()
        | disputed.readers()
        | presented.readers()
        | served.readers()
        | logged_in.readers()
        | mirrored.readers()
        | shown_entries.readers()
        | pooled.readers()
        | pool_said.readers()
        | cascaded.readers()
        | contributed.readers()
        | turned.readers()
        | released.readers()
        | bucketed.readers()
        | carded.readers()
        | graded.readers()
        | observed_read.readers()
        | parted.readers()
        | corpora_read.readers()
        | exported.readers()
        | tenanted.readers()
        | answered.readers()
        | imported.readers()
        | _doors()
    )


def _turns() -> dict[str, Reader]:
    said = Said(group=3, rollout=1, turn=0, tokens=(5, 2))
    reply = Reply(group=3, rollout=1, turn=0, answer=(7,), is_over=False, seal="0" * 128)
    blob = BlobRef(digest=POLICY, size=9)
    about = {"lab": SIGNER.did, "author": SIGNER.did, "seq": 7}
    words = (
        TurnsAsked(**about, work="run.3", said=blob),
        TurnsAwaited(**about),
        TurnsTold(**about, work="run.3", asked=POLICY, told=blob),
        TurnsTold(**about, work="run.3", asked=POLICY, reason="no", fault="work"),
    )
    return {
        "turns said": Reader(unpack_said, (pack_said([said]),), (BadTurns,)),
        "turns told": Reader(unpack_replies, (pack_replies([reply]),), (BadTurns,)),
        "turn words": Reader(
            lambda data: decode_word(data, SIGNER.did), tuple(map(encode_word, words)), (BadTurns,)
        ),
    }


def _records() -> dict[str, Reader]:
    statements = tuple(encode(each) for each in SMALL.values())
    envelopes = tuple(sign(SIGNER, each, RECORD_TYPE).to_json() for each in statements)
    entries = tuple(_entry_of(each) for each in statements)
    signed = (InvalidRecord, IdentityError)
    receipt = documents.Receipt(index=3, head="head").model_dump_json().encode()
    return {
        "statements": Reader(decode, statements, (InvalidRecord,)),
        "envelopes": Reader(Envelope.from_json, envelopes, (IdentityError,)),
        "entries": Reader(read_entry, entries, signed),
        "signed entries": Reader(
            lambda data: read_entry(_entry_of(data or b"{}")), statements, signed
        ),
        **_turns(),
        "settlements": Reader(
            Csv().read,
            (Csv().written(payouts([Owed(SIGNER.did, 5)], "b", 7)).encode(),),
            (BadSettlement,),
        ),
        "parcels": Reader(unpack_parcel, (pack_parcel(b"{}", (b"a", b"bc")),), (BadParcel,)),
        "receipts": Reader(
            lambda data: read_document(documents.Receipt, data),
            (receipt,),
            (BadDocument,),
        ),
    }


CALLS = tuple(
    written_call(Call("get", {"drawer": "f"}), form).encode() for form in ("hermes", "llama")
)


def _calls(data: bytes) -> None:
    for form in ("hermes", "llama", "plain"):
        read_calls(data.decode(errors="replace"), form, Drawers.tools)  # type: ignore[arg-type]


def _payloads() -> dict[str, Reader]:
    pace = RlPace(**PACE)
    bounds = bounds_of(pace, work="run.1", policy=POLICY, num_groups=2)
    one = Rollout((5, 6, 2), (-0.5, -0.25, -0.125), True)
    rollouts = pack_rollouts([[one] * 2] * 2, work="run.1", policy=POLICY)
    terms = EpisodeTerms(
        environment="drawers-1", parameters={}, turns=3, tools="auto", chat_template="auto"
    )
    played = replace(bounds, episodes=terms)
    two = Rollout((5, 2, 9, 6, 2), (-0.5, -0.5, 0.0, -0.5, -0.5), True, bytes((1, 1, 0, 1, 1)))
    episodes = pack_rollouts([[two] * 2] * 2, work="run.1", policy=POLICY)
    routed = ExpertTerms(layers=1, count=4, chosen=2, prompt_tokens=3)
    third = replace(one, experts=bytes((0, 1, 2, 3, 255, 255, 1, 0)))
    experts = pack_rollouts([[third] * 2] * 2, work="run.1", policy=POLICY, experts=routed)
    chosen = replace(bounds, experts=routed)
    return {
        "experts": Reader(lambda data: unpack_rollouts(data, chosen), (experts,), (BadPayload,)),
        "tool calls": Reader(_calls, CALLS, (BadCall,)),
        "episodes": Reader(lambda data: check_rollouts(data, played), (episodes,), (BadPayload,)),
        "rollouts": Reader(lambda data: check_rollouts(data, bounds), (rollouts,), (BadPayload,)),
        "prompts": Reader(unpack_prompts, (pack_prompts([(1, 2), (3,)], batch=4),), (BadPayload,)),
    }


def _versions() -> dict[str, Reader]:
    old, new = _weights(1), _weights(2)
    first = describe(old, 0, None)
    second = describe(new, 1, first.state)
    delta = encode_delta(old, new, first, second)
    over = describe(old, 0, None, Over(first.state, AdapterSection().form))
    manifests = tuple(each.to_bytes() for each in (first, second, over))
    return {
        "manifests": Reader(Manifest.from_bytes, manifests, (BadWeights,)),
        "anchors": Reader(
            lambda data: decode_anchor(data, first),
            (encode_anchor(old), encode_anchor(new)),
            (BadWeights,),
        ),
        "deltas": Reader(
            lambda data: apply_delta(old, first, data, second), (delta,), (BadWeights,)
        ),
    }


def _texts() -> dict[str, Reader]:
    recipe = tiny_recipe(3, 1)
    toml = tuple(text.encode() for text in shipped_recipes().values())
    config = json.dumps(
        {
            "model_type": "llama",
            "vocab_size": 64,
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 32,
            "eos_token_id": [1, 2],
            "rope_theta": 10000.0,
            "hidden_act": "silu",
        }
    ).encode()
    said: tuple[Any, ...] = (
        Ready(protections=("network",)),
        ProgressMessage(tokens=3),
        Failed(reason="no"),
        Done(files={}, values={"policy": POLICY, "num_tokens": 2}),
    )
    lines = tuple(to_line(each) for each in said)
    asked = (to_line(AskRemembered(kind="update", run="run", folder="run-0")),)
    head = sign_tree_head(SIGNER, ORIGIN, 7, bytes(32)).note
    snapshot = encode_state(LabState(lab=SIGNER.did))
    return {
        "recipes": Reader(
            lambda data: parse_any(_text(data)),
            (*toml, PRETRAINING.encode(), DOOR.encode()),
            (InvalidRecipe,),
        ),
        "canonical recipes": Reader(
            recipe_from_canonical, (recipe.canonical_bytes(),), (InvalidRecipe,)
        ),
        "canonical recipes of any programme": Reader(
            any_from_canonical,
            tuple(
                each.canonical_bytes() for each in (recipe, *map(parse_any, (PRETRAINING, DOOR)))
            ),
            (InvalidRecipe,),
        ),
        "model configurations": Reader(_config, (config,), (InvalidModel,)),
        "scenarios": Reader(lambda data: read_scenario(_text(data)), SCENARIO, (CannotSimulate,)),
        "settings of a scenario": Reader(
            lambda data: with_settings(Scenario(), [_text(data)]), SETTINGS, (CannotSimulate,)
        ),
        "words of a child": Reader(read_from_child, lines, (BadMessage,)),
        "words to a child": Reader(read_to_child, asked, (BadMessage,)),
        "tree heads": Reader(
            lambda data: verify_tree_head(data, lab_key(SIGNER.did)), (head,), (BadTreeHead,)
        ),
        "snapshots": Reader(decode_state, (snapshot,), (BadSnapshot,)),
    }


PRETRAINING = """
[run]
name = "p"
programme = "pretrain"
versions = 7
[corpus]
path = "text"
[inner]
learning_rate = 4e-3
[exchange]
codec = "top_k"
error_feedback = 0.9
[merge]
quorum = 3
loss_gate = true
gate_path = "held-out"
gate_secret = "gate"
"""
DOOR = f"""
[run]
name = "d"
programme = "door"
[door]
key = "{SIGNER.did}"
adapt = "staked"
deposit = 5
rank = 8
question_mb = 3
[lease]
slack = 2.5
sample_price_micro = 7
"""
SCENARIO = (b'like = "small"\nhours = 2\n[crowd]\nproviders = 30\nkinds = ["rtx5090"]\n',)
SETTINGS = (b"crowd.providers=30", b'spreading.way="star"', b"market.period_s=60.0")


class Broken(AssertionError):
    """The lab's door gave no answer that it documents."""


def _doors() -> dict[str, Reader]:
    """The lab's own door: it may refuse whatever comes, and nothing comes out but its answers."""
    sealed = [sign(SIGNER, encode(each), RECORD_TYPE).to_json() for each in SMALL.values()]
    submitted = [documents.Submitted(record=each.decode()) for each in sealed]
    asked = [documents.Asked(request=each.decode()) for each in sealed]
    parcels = [pack_parcel(each.model_dump_json().encode(), (b"blob",)) for each in submitted]
    wanted = [pack_parcel(each.model_dump_json().encode(), ()) for each in asked]

    @cache
    def door() -> Door:
        world = World()
        world.open_run()
        return Door(world)

    def posted(path: str, data: bytes) -> None:
        kind = MEDIA_TYPE if data.startswith(b"APCL") else "application/json"
        headers = {"Content-Type": kind}
        answer = door().request("POST", path, content=data, headers=headers, params=_NOW[path])
        is_problem = answer.headers.get("content-type") == PROBLEM_MEDIA_TYPE
        if answer.status_code >= 500 or (answer.status_code >= 400 and not is_problem):
            raise Broken(f"{answer.status_code}: {answer.text:.200}")

    def offered(data: bytes) -> None:
        headers = {"Archipel-Offer": base64.b64encode(data[:6000])}
        path = f"/blobs/{ref(b'r').digest}"
        answer = door().request("PUT", path, content=b"r", headers=headers)
        if answer.status_code >= 500:
            raise Broken(f"{answer.status_code}: {answer.text:.200}")

    return {
        "the door, an offer": Reader(offered, tuple(sealed), ()),
        "the door, /records": Reader(partial(posted, "/records"), (*sealed, *parcels), ()),
        "the door, /leases": Reader(partial(posted, "/leases"), (*sealed, *wanted), ()),
    }


_NOW: dict[str, dict[str, str]] = {"/records": {}, "/leases": {"wait_s": "0"}}

READERS = _readers()
