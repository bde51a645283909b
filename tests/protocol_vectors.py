"""Golden bytes of docs/reference/protocol.md: `python tests/protocol_vectors.py tests/vectors/protocol-1.json`, or -2.

Written once and then kept: what other people's nodes were tested with does not change.
"""

import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from archipel.identity import Envelope, Identity
from archipel.ledger.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    nodes_from_leaves,
)
from archipel.ledger.proof_file import proof_text
from archipel.ledger.tiles import ENTRIES, Place, bundle
from archipel.ledger.tree_head import sign_tree_head
from archipel.ledger.verification import lab_key
from archipel.ledger.witness import Witness, submission
from archipel.model.delta_file import DeltaFile
from archipel.model.difference import encode_block
from archipel.records.canonical import sha256_digest
from archipel.records.parcel import pack_parcel
from archipel.records.prompts import pack_prompts
from archipel.records.rollouts import pack_rollouts
from door import Door
from people import identity
from world import World


def vectors() -> dict[str, Any]:
    """Everything, as hexadecimal digits or text."""
    exchange, answer = _exchange()
    document = json.dumps({"record": exchange[-1]}).encode()
    prompts = [(1, 3, 5), (1, 4)]
    return {
        "keys": {bytes([n] * 32).hex(): identity_of(n) for n in (1, 2, 3)},
        "exchange": exchange,
        "ledger": _ledger(),
        "prompts": {"bytes": pack_prompts(prompts, batch=7).hex(), "batch": 7, "prompts": prompts},
        "rollouts": answer,
        "parcel": {
            "bytes": pack_parcel(document, [b"", bytes.fromhex(answer["bytes"])]).hex(),
            "document": document.decode(),
            "blobs": ["", answer["bytes"]],
        },
        "deltas": [_delta(every) for every in (1, 2, 37, 0)],
    }


def identity_of(number: int) -> str:
    """The name of the key with this seed."""
    return Identity.from_seed(bytes([number] * 32)).did


def _exchange() -> tuple[list[str], dict[str, Any]]:
    """A request, the lab's grant, the answer; and the payload that the answer names."""
    world = World()
    world.started()
    node = world.provider("node")
    asked = node.request()
    granted = world.ask(asked)
    assert granted is not None
    groups = node.rollouts_of(granted.spec)
    data = pack_rollouts(groups, work=granted.work, policy=granted.spec.policy)
    node.answer(granted)
    sealed = [_record(entry) for entry in world.lab.log.entries()]
    world.close()
    of = [json.loads(Envelope.from_json(each.encode()).payload)["kind"] for each in sealed]
    last = dict(zip(of, sealed, strict=True))
    told = {
        "bytes": data.hex(),
        "lengths": [[len(each.tokens) for each in group] for group in groups],
        "tokens": [[each.tokens for each in group] for group in groups],
        "finished": [[each.finished for each in group] for group in groups],
    }
    return [last["node.joined"], asked.decode(), last["lease.granted"], last["work.answered"]], told


def _record(entry: bytes) -> str:
    return entry.split(b',"record":', 1)[1][:-1].decode()


def _ledger() -> dict[str, Any]:
    world = World()
    world.started()
    world.provider("node").prove()
    entries = list(world.lab.log.entries())
    world.close()
    leaves = [leaf_hash(entry) for entry in entries]
    node, size = nodes_from_leaves(leaves), len(leaves)
    root = Frontier().extended(leaves).root()
    lab = identity("lab")
    return {
        "entries": [entry.decode() for entry in entries],
        "head": sign_tree_head(lab, lab_key(lab.did).name, size, root).note.decode(),
        "inclusion": [[p.hex() for p in inclusion_proof(n, size, node)] for n in range(size)],
        "consistency": {
            str(old): {
                "root": Frontier().extended(leaves[:old]).root().hex(),
                "proof": [p.hex() for p in consistency_proof(old, size, node)],
            }
            for old in range(1, size)
        },
    }


def _delta(every: int) -> dict[str, Any]:
    chance = random.Random(every)
    old = np.array([chance.randrange(2**16) for _ in range(300)], dtype=np.uint16)
    new = old.copy()
    if every:
        new[::every] ^= np.array([chance.randrange(1, 2**9) for _ in old[::every]], dtype=np.uint16)
    states = [sha256_digest(each.astype("<u2").tobytes()) for each in (old, new)]
    data = DeltaFile(states[0], states[1], 1, (encode_block(old, new),)).to_bytes()
    return {"old": old.tolist(), "new": new.tolist(), "bytes": data.hex()}


WITNESS, SIGNED_AT_S = "w.example", 1_800_000_000
VIEWS = ("/lab", "/runs", "/runs/run", "/runs/run/opening", "/runs/run/versions", "/nodes", "/leases", "/waits", "/ledger/head",
    "/ledger/entries?start=1&limit=2", "/healthz", "/runs/none")  # fmt: skip
"""What is read of a lab where one lease is open."""


def answers() -> dict[str, Any]:
    """What a lab answers, what a witness does, a proof file, and a mirror's files: beside what `vectors` has."""
    return {"lab": _answered(), **_shown(_ledger())}


def _answered() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), ledger_on_disk=False)
        world.started()
        node = world.provider("node")
        node.ask()
        world.now_ms += 1500
        door = Door(world)
        found = {
            path: door.get(path) for path in (*VIEWS, f"/nodes/{node.did}", f"/keys/{node.did}")
        }
        door.close()
        world.close()
    return {
        path: {
            "status": answer.status_code,
            "type": answer.headers["content-type"],
            "body": answer.text,
        }
        for path, answer in found.items()
    }


def _shown(ledger: dict[str, Any]) -> dict[str, Any]:
    """Of this ledger: how its witness signs two of its heads and refuses a third time; an entry's proof; its files."""
    entries = [entry.encode() for entry in ledger["entries"]]
    leaves = [leaf_hash(entry) for entry in entries]
    node, size, old = nodes_from_leaves(leaves), len(leaves), 2
    lab, witness = identity("lab"), Identity.from_seed(bytes([9] * 32))
    key = lab_key(lab.did)
    early = sign_tree_head(lab, key.name, old, Frontier().extended(leaves[:old]).root()).note
    late = ledger["head"].encode()
    asked = [
        submission(0, (), early),
        submission(old, tuple(consistency_proof(old, size, node)), late),
        submission(old, tuple(consistency_proof(old, size, node)), late),
        submission(size, (), late.replace(b"\n", b"x\n", 1)),
        b"old -1\n\n" + late,
    ]
    with tempfile.TemporaryDirectory() as folder:
        sworn = Witness(Path(folder), WITNESS, witness, {key.name: key}, lambda: SIGNED_AT_S)
        replies = [sworn.add(each) for each in asked]
        sworn.close()
    return {
        "witness": {
            "key": sworn.key.to_text(),
            "exchange": [
                {"asked": body.decode(), "status": reply.status, "told": reply.body, "type": reply.media_type}
                for body, reply in zip(asked, replies, strict=True)
            ],
        },
        "proof": {"index": 1, "file": proof_text(1, inclusion_proof(1, size, node), late).decode()},
        "mirror": {
            "checkpoint": late.decode(),
            Place(ENTRIES, 0, size).path: bundle(entries).hex(),
            Place(0, 0, size).path: b"".join(leaves).hex(),
        },
        "places": [[each.level, each.index, each.width, each.path] for each in
            (Place(0, 0, 256), Place(ENTRIES, 1_234_067, 3), Place(2, 1000, 255))],
    }  # fmt: skip


if __name__ == "__main__":
    made = answers if "-2" in sys.argv[1] else vectors
    Path(sys.argv[1]).write_text(json.dumps(made(), indent=1) + "\n", encoding="utf-8")
