"""A process that handles the manifest of a model of 10^12 parameters, and says how much memory that took.

    python trillion.py FOLDER

Names and shapes are those of Kimi K2 (1.04e12 parameters, planning table runs@2026-11): 61 layers, 384 experts.
Digests are invented; no weight exists.
"""

import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from archipel.records.canonical import sha256_digest
from archipel.records.fields import BlobRef
from archipel.records.part_manifest import TensorFact, part_manifest, tensors_of, whole_tensors
from archipel.records.weight_parts import Part, PartIndex, Rows, read_index
from archipel.records.weight_state import StateHasher, state_of
from archipel.work.joining import Joined, Receipt, join
from archipel.work.part_plan import Planned, goal_of, layers, planned, rows_wanted, share, wanted

LAYERS, EXPERTS, WIDTH, NARROW, HEADS, VOCAB = 61, 384, 7168, 2048, 64, 163_840
PARTS = 2048
MOST = 2**29
RANKS = 16


def attention() -> dict[str, tuple[int, ...]]:
    return {
        "input_layernorm.weight": (WIDTH,),
        "post_attention_layernorm.weight": (WIDTH,),
        "self_attn.q_a_proj.weight": (1536, WIDTH),
        "self_attn.q_a_layernorm.weight": (1536,),
        "self_attn.q_b_proj.weight": (HEADS * 192, 1536),
        "self_attn.kv_a_proj_with_mqa.weight": (576, WIDTH),
        "self_attn.kv_a_layernorm.weight": (512,),
        "self_attn.kv_b_proj.weight": (HEADS * 256, 512),
        "self_attn.o_proj.weight": (WIDTH, HEADS * 128),
    }


def feed_forward(prefix: str, width: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{prefix}.gate_proj.weight": (width, WIDTH),
        f"{prefix}.up_proj.weight": (width, WIDTH),
        f"{prefix}.down_proj.weight": (WIDTH, width),
    }


def layer(number: int) -> dict[str, tuple[int, ...]]:
    shapes = attention()
    if number == 0:
        return shapes | feed_forward("mlp", 18_432)
    shapes |= {"mlp.gate.weight": (EXPERTS, WIDTH), "mlp.gate.e_score_correction_bias": (EXPERTS,)}
    shapes |= feed_forward("mlp.shared_experts", NARROW)
    for expert in range(EXPERTS):
        shapes |= feed_forward(f"mlp.experts.{expert}", NARROW)
    return shapes


def forms() -> Iterator[tuple[str, tuple[int, ...]]]:
    """In the order of names, a layer in memory at a time."""
    yield "lm_head.weight", (VOCAB, WIDTH)
    yield "model.embed_tokens.weight", (VOCAB, WIDTH)
    for number in sorted(range(LAYERS), key=lambda each: f"{each}."):
        for name, shape in sorted(layer(number).items()):
            yield f"model.layers.{number}.{name}", shape
    yield "model.norm.weight", (WIDTH,)


def digest_of(name: str) -> str:
    return sha256_digest(name.encode())


def receipt(folder: Path, number: int, part: Planned) -> Receipt:
    """What a rank would say of a part, had it weights; its manifest is written."""
    rows, facts = None, [TensorFact(name, shape, digest_of(name)) for name, shape in part.forms]
    if part.rows is not None:
        start, stop = part.rows
        name, shape = part.forms[0]
        rows = Rows(start=start, stop=stop, shape=shape, digest=digest_of(name))
        facts = [TensorFact(name, (stop - start, *shape[1:]), digest_of(f"{name}{start}"))]
    state = state_of(facts)
    data = part_manifest(facts, state, 0, None)
    manifest = BlobRef(digest=sha256_digest(data), size=len(data))
    (folder / manifest.digest[7:]).write_bytes(data)
    told = Part(
        manifest=manifest,
        state=state,
        first=facts[0].name,
        last=facts[-1].name,
        tensors=len(facts),
        weights=sum(each.num_weights for each in facts),
        rows=rows,
    )
    anchor = BlobRef(digest=digest_of(f"anchor {number}"), size=part.num_bytes)
    return Receipt(number=number, part=told, anchor=anchor, delta=None)


def written(folder: Path) -> Joined:
    """Every rank its own, then whoever joins them."""
    size = sum(2 * fact.num_weights for fact in (TensorFact(n, s, "") for n, s in forms()))
    plan = planned(forms(), goal_of(size, PARTS), MOST)
    receipts = [receipt(folder, number, part) for number, part in enumerate(plan)]
    sizes = [each.part.num_bytes for each in receipts]
    loads = [sum(sizes[n] for n in share(sizes, rank, RANKS)) for rank in range(RANKS)]
    assert sum(loads) == size
    assert max(loads) - min(loads) < max(sizes)
    return join(receipts, lambda blob: (folder / blob.digest[7:]).read_bytes(), 0, None)


def read_again(folder: Path, data: bytes) -> tuple[PartIndex, int]:
    """The index, checked against every part's manifest, one at a time; how many tensors they name."""
    index, hasher = read_index(data), StateHasher()
    for part in index.parts:
        told = (folder / part.manifest.digest[7:]).read_bytes()
        hasher.add(whole_tensors(part, tensors_of(told, part)))
    assert hasher.state == index.state
    return index, hasher.tensors


def stage(folder: Path, index: PartIndex) -> dict[str, int]:
    """Of layers 40 to 47: the parts, and what lies in them."""
    numbers, names = wanted(index, layers(40, 48)), 0
    for number in numbers:
        part = index.parts[number]
        told = tensors_of((folder / part.manifest.digest[7:]).read_bytes(), part)
        names += sum(each.name.startswith(layers(40, 48)) for each in told)
    heads = wanted(index, ["lm_head."])
    return {
        "stage_parts": len(numbers),
        "stage_tensors": names,
        "stage_bytes": sum(index.parts[n].num_bytes for n in numbers),
        "head_parts": len(heads),
        "head_parts_of_a_rank": len(rows_wanted(index, heads, 3, 8)),
    }


def main() -> None:
    folder = Path(sys.argv[1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made = written(folder)
    data = made.index.to_bytes()
    assert made.anchor is not None
    told = {"list_bytes": len(made.anchor.to_bytes()), "index_bytes": len(data)}
    del made
    index, tensors = read_again(folder, data)
    told |= stage(folder, index) | {"tensors": tensors}
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told |= {"peak_bytes": 1024 * after, "grown_bytes": 1024 * (after - before)}
    told |= {"parts": len(index.parts), "weights": index.weights}
    told["manifest_bytes"] = sum(each.manifest.size for each in index.parts)
    told["has_torch"] = int("torch" in sys.modules)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
