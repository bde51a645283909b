"""From a chain of fetched versions to a model directory that anyone can load."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from archipel.engine.exact.choice import BadChoice, carry_choice
from archipel.model.adapter import Adapter, check_adapter
from archipel.model.adapter_files import write_adapter
from archipel.model.directory import InvalidModel, expected_shapes, read_config, write_model
from archipel.model.manifest import BadWeights, Manifest, describe
from archipel.model.stock import stock_shapes, write_stock_model
from archipel.model.stock_config import read_stock_config
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
        policy = follow(links, None, links[-1].policy, lambda made: _require_fitting(made, support))
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
    names = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if not _is_ours(names, support):
        write_stock_model(out, state, read_stock_config(support), support)
        return
    if policy.manifest.over is not None:
        digest = describe(state, 0, None).state
    write_model(out, state, read_config(support), Tokenizer.from_directory(support))
    try:
        carry_choice(support, out, digest)
    except BadChoice as error:
        logger.warning("the exact choice of version 0 is not carried on: %s", error)


def _is_ours(names: Mapping[str, tuple[int, ...]], support: Path) -> bool:
    """Whether these are the weights of one of our own networks, by the config in `support`.

    A run of backend transformers has other names, or a family that is none of ours; where it has the very same,
    both write the same model.
    """
    try:
        if dict(expected_shapes(read_config(support))) == names:
            return True
    except InvalidModel as ours:
        try:
            read_stock_config(support)
        except InvalidModel as theirs:
            raise InvalidModel(f"{ours}; {theirs}") from None
        return False
    try:
        return dict(stock_shapes(read_stock_config(support))) != names
    except InvalidModel:
        return True  # whose names they are is then said by who writes them


def _require_fitting(manifest: Manifest, support: Path) -> None:
    """Raises WrongTensors: an adapter of another architecture. Whole weights are looked at when they are written."""
    if manifest.over is not None:
        shapes = {each.name: each.shape for each in manifest.tensors}
        check_adapter(shapes, read_config(support), manifest.over.form)
