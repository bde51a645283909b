"""From a chain of fetched versions to a model directory that anyone can load."""

import logging
from collections.abc import Sequence
from pathlib import Path

from archipel.engine.exact.choice import BadChoice, carry_choice
from archipel.model.directory import read_config, write_model
from archipel.model.manifest import BadWeights
from archipel.model.tokenizer import Tokenizer
from archipel.work.kind import WorkFailed
from archipel.work.messages import LinkMessage
from archipel.work.policies import follow

logger = logging.getLogger("archipel.work.export")


class ExportFailed(Exception):
    """There is nothing to export, or it does not verify."""


def write_version(links: Sequence[LinkMessage], support: Path, out: Path) -> str:
    """Write the weights at the end of `links`, with config, tokenizer and exact choice from `support`, to `out`.

    Returns the state digest of the weights.

    Raises:
        ExportFailed: the chain is broken or does not end where the lab says.
    """
    if not links:
        raise ExportFailed("there are no versions to export")
    try:
        policy = follow(links, None, links[-1].policy)
    except (BadWeights, WorkFailed) as error:
        raise ExportFailed(str(error)) from None
    write_model(out, policy.state, read_config(support), Tokenizer.from_directory(support))
    try:
        carry_choice(support, out, policy.manifest.state)
    except BadChoice as error:
        logger.warning("the exact choice of version 0 is not carried on: %s", error)
    return policy.manifest.state
