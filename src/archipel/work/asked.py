"""What was asked of whoever sampled some groups: from a lease's spec and the run's pace to requests of an engine.

Law: a request depends on the group alone, so whoever recomputes an answer asks exactly what was asked first.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from archipel.model.tokenizer import InvalidTokenizer, Tokenizer
from archipel.records.fields import BlobRef
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.programmes.rl import RlPace
from archipel.records.requests import Request
from archipel.records.rollouts import unpack_prompts
from archipel.records.seeds import group_seed
from archipel.training.wording import NoPieces, Wording, wording_of
from archipel.work.kind import WorkFailed


def requests_of(
    spec: RolloutSpec,
    pace: RlPace,
    read: Callable[[BlobRef], bytes],
    wording: Wording | None = None,
) -> list[Request]:
    """One request per group, with the batches of prompts as `read` gives them.

    Raises:
        WorkFailed: a group's prompt is in none of them.
    """
    prompts = _prompts(spec, read, pace.groups_per_update)
    requests = [
        Request(
            key=str(group),
            prompt=prompts[group],
            seed=group_seed(pace.seed if spec.noise is None else spec.noise, group),
            num_rollouts=pace.group_size,
            max_new_tokens=pace.max_new_tokens,
            temperature=pace.temperature_micro / 1e6,
            stop_tokens=pace.stop_tokens,
            cut=pace.cut,
            tells_experts=pace.experts is not None,
            tells_fingerprints=pace.fingerprints,
        )
        for group in spec.groups
    ]
    return requests if wording is None else [wording.on(each) for each in requests]


def wording_by(pace: RlPace, model: Path) -> Wording | None:
    """What completions may say and which words end them, by a run's pace and the tokenizer in the directory `model`.

    Raises:
        WorkFailed: not with this tokenizer.
    """
    if pace.stop is None and pace.allowed is None:
        return None
    try:
        return wording_of(pace.stop or (), pace.allowed or "", _tokenizer(model))
    except (NoPieces, InvalidTokenizer) as error:
        raise WorkFailed(f"stop strings or allowed characters: {error}") from None


@lru_cache(4)
def _tokenizer(model: Path) -> Tokenizer:
    return Tokenizer.from_directory(model)


def _prompts(
    spec: RolloutSpec, read: Callable[[BlobRef], bytes], groups_per_batch: int
) -> Mapping[int, tuple[int, ...]]:
    prompts: dict[int, tuple[int, ...]] = {}
    for blob in spec.prompts:
        batch, rows = unpack_prompts(read(blob))
        first = batch * groups_per_batch
        prompts |= {first + row: prompt for row, prompt in enumerate(rows)}
    missing = [group for group in spec.groups if group not in prompts]
    if missing:
        raise WorkFailed(f"the prompts of groups {missing[:5]} are in none of the named batches")
    return prompts
