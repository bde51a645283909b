"""Golden bytes of docs/reference/protocol.md: `python tests/protocol_vectors.py tests/vectors/protocol-1.json`.

Written once and then kept: what other people's nodes were tested with does not change.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np

from archipel.identity import Envelope
from archipel.ledger.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    nodes_from_leaves,
)
from archipel.ledger.tree_head import sign_tree_head
from archipel.ledger.verification import lab_key
from archipel.model.delta_file import DeltaFile
from archipel.model.difference import encode_block
from archipel.records.canonical import sha256_digest
from archipel.records.parcel import pack_parcel
from archipel.records.prompts import pack_prompts
from archipel.records.rollouts import pack_rollouts
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
    from archipel.identity import Identity

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


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(vectors(), indent=1) + "\n", encoding="utf-8")
