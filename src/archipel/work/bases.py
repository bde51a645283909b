"""What an adapter's versions lie over: a run's first weights, read once and held once for all runs on them.

Parts: `Base`, `read_base`, `Bases` (what a process holds), `Ground` (base and form together: what a run's
manifests are compared with). Law: a manifest is compared before a byte of its weights is decoded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from archipel.model.adapter import Adapter, check_adapter, merged
from archipel.model.config import DecoderConfig
from archipel.model.config_files import InvalidModel
from archipel.model.directory import read_model
from archipel.model.manifest import Manifest, Over, WrongTarget, WrongTensors, describe
from archipel.records.adapter import AdapterForm
from archipel.work.kind import Context, WorkFailed
from archipel.work.recent import Recent


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """Whole weights in bf16 that nothing trains."""

    config: DecoderConfig
    state: Mapping[str, Tensor]
    digest: str
    """Of that state, as a manifest gives it."""


def read_base(model: Path) -> Base:
    """Of a model directory.

    Raises:
        InvalidModel: it is none.
    """
    decoder = read_model(model, torch.bfloat16, under_adapter=True)
    state = {name: weight.detach() for name, weight in decoder.named_parameters()}
    return Base(decoder.config, state, describe(state, 0, None).state)


@dataclass(frozen=True, slots=True)
class Ground:
    """What the versions of one run lie over."""

    base: Base
    form: AdapterForm

    def check(self, manifest: Manifest) -> None:
        """Refuse a version of anything else.

        Raises:
            WrongTarget: it is a whole model, or lies over other weights, or is of another form.
            WrongTensors: its tensors are not those of this form over this architecture.
        """
        over, expected = manifest.over, Over(self.base.digest, self.form)
        if over is None:
            raise WrongTarget(
                f"version {manifest.version} is a whole model; the run's are adapters: {self.form}"
            )
        if over.base != expected.base:
            raise WrongTarget(
                f"version {manifest.version} is an adapter over {over.base}; the run's first weights are "
                f"{expected.base}"
            )
        if over.form != expected.form:
            raise WrongTarget(
                f"version {manifest.version} is {over.form}; the run was opened for {self.form}"
            )
        check_adapter(
            {each.name: each.shape for each in manifest.tensors}, self.base.config, self.form
        )

    def merged(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole weights, from an adapter's."""
        return merged(self.base.state, Adapter(self.form, state), self.base.config)


def require_whole(manifest: Manifest) -> None:
    """Of a run whose versions are whole models.

    Raises:
        WrongTensors: it is an adapter's.
    """
    if manifest.over is not None:
        raise WrongTensors(
            f"version {manifest.version} is an adapter over {manifest.over.base}; the run's versions are whole models"
        )


class Bases:
    """Those of the runs worked in lately; runs with the same weights share them."""

    def __init__(self) -> None:
        self._held: Recent[Path, Base] = Recent()

    def ground_of(self, context: Context) -> Ground | None:
        """What the run's versions lie over; None: they are whole models.

        Raises:
            WorkFailed: the run's first weights cannot be read.
        """
        form = context.opened.pace.adapter
        if form is None:
            return None
        base = self._held.get(context.model)
        if base is None:
            base = self._read(context)
        return Ground(base, form)

    def _read(self, context: Context) -> Base:
        try:
            base = read_base(context.model)
        except InvalidModel as error:
            raise WorkFailed(f"the first weights of {context.run}: {error}") from None
        known = {each.digest: each for each in self._held.values()}
        base = known.get(base.digest, base)
        self._held.put(context.model, base)
        return base
