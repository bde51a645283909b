"""From a chain of fetched versions to a model directory that anyone can load."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from archipel.engine.exact.choice import BadChoice, carry_choice
from archipel.model.adapter import Adapter, check_adapter
from archipel.model.adapter_files import write_adapter
from archipel.model.config import DecoderConfig
from archipel.model.directory import InvalidModel, read_config, write_model
from archipel.model.manifest import BadWeights, Manifest, describe
from archipel.model.tokenizer import Tokenizer
from archipel.work.bases import Ground, read_base
from archipel.work.kind import WorkFailed
from archipel.work.messages import LinkMessage
from archipel.work.policies import Policy, follow

logger = logging.getLogger("archipel.work.export")


class ExportFailed(Exception):
    """There is nothing to export, or it does not verify."""


def write_version(
    links: Sequence[LinkMessage],
    support: Path,
    out: Path,
    *,
    merge: bool = False,
    base_name: str | None = None,
) -> str:
    """Write the weights at the end of `links`, with config, tokenizer and exact choice from `support`, to `out`.

    An adapter becomes a directory in the PEFT layout, which may name its base; with `merge` a whole model, of
    the weights that lie in `support` beside the config. Returns the state digest of the version.

    Raises:
        ExportFailed: the chain is broken or does not end where the lab says, or is no adapter of that model.
    """
    if not links:
        raise ExportFailed("there are no versions to export")
    try:
        config = read_config(support)
        policy = follow(links, None, links[-1].policy, lambda made: _require_fitting(made, config))
        over = policy.manifest.over
        if merge and over is not None:
            ground = Ground(read_base(support), over.form)
            ground.check(policy.manifest)
            policy = replace(policy, ground=ground)
        if over is None or merge:
            _write_whole(policy, support, out)
        else:
            write_adapter(out, Adapter(over.form, policy.state), over, base_name)
    except (BadWeights, WorkFailed, InvalidModel) as error:
        raise ExportFailed(str(error)) from None
    return policy.manifest.state


def _write_whole(policy: Policy, support: Path, out: Path) -> None:
    """With the exact choice that was made for version 0, if there is one."""
    state, digest = policy.whole(), policy.manifest.state
    if policy.manifest.over is not None:
        digest = describe(state, 0, None).state
    write_model(out, state, read_config(support), Tokenizer.from_directory(support))
    try:
        carry_choice(support, out, digest)
    except BadChoice as error:
        logger.warning("the exact choice of version 0 is not carried on: %s", error)


def _require_fitting(manifest: Manifest, config: DecoderConfig) -> None:
    """Raises WrongTensors: an adapter of another architecture. Whole weights are looked at when they are written."""
    if manifest.over is not None:
        shapes = {each.name: each.shape for each in manifest.tensors}
        check_adapter(shapes, config, manifest.over.form)
