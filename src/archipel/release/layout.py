"""Which names a release has: nothing lies where loaders look that nobody looked at. Pure.

Loaders take the top of a model directory by names: pickles, code, other weights, and folders of other formats are read by
one or another of them as soon as they lie there. So the top holds what a release writes and nothing else, whoever signed it.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from archipel.records.adapter import FILES as ADAPTER_FILES
from archipel.release import places

FOLDERS: Final = frozenset(
    {
        places.LICENCES,
        places.LEDGER,
        places.BLOBS,
        places.ENVIRONMENT,
        places.DATA,
        places.CODE,
        places.PAPERS,
        places.PROVENANCE,
    }
)
MODEL_FILES: Final = frozenset(
    {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
        "exact.json",
    }
)
"""Beside the weights, as `model` writes them."""
SINGLE: Final = "model.safetensors"
SHARDS: Final = "model.safetensors.index.json"
ADAPTER_CONFIG, ADAPTER = ADAPTER_FILES
_SHARD = re.compile(r"model-[0-9]{5}-of-[0-9]{5}\.safetensors")
_TOP: Final = MODEL_FILES | {
    SINGLE,
    SHARDS,
    *ADAPTER_FILES,
    places.CARD,
    places.INDEX,
    places.SIGNATURE,
    places.KEY,
    places.VOUCHER,
    places.RECIPE,
    places.CITATION,
    places.SBOM,
    places.OPENNESS,
}


def is_weights(path: str) -> bool:
    """Whether a loader takes it for the model's weights."""
    return path in (SINGLE, ADAPTER) or _SHARD.fullmatch(path) is not None


def is_of_model(path: str) -> bool:
    """Whether it is a file of the model directory, and none that a release puts beside it."""
    return path in MODEL_FILES or path in (SHARDS, ADAPTER_CONFIG) or is_weights(path)


def misplaced(paths: Iterable[str]) -> Iterator[str]:
    """A sentence for each file at a place that no release has."""
    for path in paths:
        top, slash, _ = path.partition("/")
        if slash and top not in FOLDERS:
            yield f"{path:.200}: a release has no folder {top!r:.80}, and a loader may look into it"
        elif not slash and top not in _TOP and not is_weights(top):
            yield f"{path:.200} lies where loaders look, and is no file of a release"


def alike(paths: Iterable[str]) -> Iterator[str]:
    """A sentence for each name that some file system takes for another one: capitals, or full stops at the end."""
    spelled: dict[str, str] = {}
    for path in paths:
        at = 0
        while at >= 0:
            at = path.find("/", at + 1)
            here = path if at < 0 else path[:at]
            is_file = "" if at < 0 else "/"
            folded = "/".join(part.rstrip(".").casefold() for part in here.split("/"))
            other = spelled.setdefault(folded, here + is_file)
            if other != here + is_file:
                yield f"{path:.200} and {other:.200} are one name where capitals or full stops do not count"
                break
