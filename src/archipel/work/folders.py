"""A folder that somebody brings: a whole model, or an adapter and the model that it lies over.

Parts: `Folder`, `folder_of`; `first_adapter` (what an adapter's first version is made from). Law: an adapter that
says what it lies over is never put over anything else.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from archipel.engine.protocol import Sampler
from archipel.model.adapter import Adapter, merged
from archipel.model.adapter_files import CONFIG, has_adapter, read_adapter
from archipel.model.backends import backend_of
from archipel.model.config_files import InvalidModel, read_config
from archipel.model.directory import read_model
from archipel.model.json_files import BadJsonFile, read_json_object
from archipel.model.manifest import describe
from archipel.model.stock import read_stock_model
from archipel.records.adapter import AdapterForm
from archipel.records.backends import Backend
from archipel.work.engines import our_engine, stock_engine
from archipel.work.seats import WithAdapter

NAME = "adapter"
"""What the engine calls the only one that it has."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a model is."""

    model: Path
    """Its configuration, tokenizer and whole weights."""
    adapter: Path | None
    """A directory with what lies over them."""
    backend: Backend = "archipel"
    """Who computes it."""
    device: str = "cpu"
    """Where it samples."""

    def seated(self, contract: str | None, dtype: torch.dtype) -> Sampler:
        """An engine with it, by this exact contract or in fp32; its weights are rounded to `dtype` before.

        Raises:
            InvalidModel: the weights are no model, or the adapter is none of it.
        """
        if self.backend != "archipel":
            return self._stock(contract, dtype)
        engine = our_engine(read_config(self.model), contract, self.device)
        state = weights_of(read_model(self.model, dtype))
        if self.adapter is None:
            engine.load(state)
            return engine
        adapter = adapter_over(self.adapter, self.model)
        rounded = {name: each.to(dtype) for name, each in adapter.state.items()}
        adapter = Adapter(adapter.form, rounded)
        if contract is not None:
            engine.load(merged(state, adapter, engine.config))
            return engine
        engine.load(state)
        engine.adapt(NAME, adapter)
        return WithAdapter(engine, NAME)

    def _stock(self, contract: str | None, dtype: torch.dtype) -> Sampler:
        if contract is not None:
            raise InvalidModel(
                f"{self.model} is computed by transformers, in floating point; {contract} is for the families of "
                "this software"
            )
        decoder = read_stock_model(self.model, dtype)
        engine = stock_engine(decoder.config, self.device)
        engine.load(weights_of(decoder))
        return engine


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """By name, as they are."""
    return {name: weight.detach() for name, weight in model.named_parameters()}


def folder_of(path: Path, base: Path | None = None, device: str = "cpu") -> Folder:
    """What the directory `path` is.

    base: the model that an adapter lies over; None: the directory that its configuration names. device: where it
    is to sample.

    Raises:
        InvalidModel: an adapter without such a directory, or `base` beside a whole model.
    """
    if not (path / CONFIG).is_file():
        if base is not None:
            raise InvalidModel(
                f"{path} holds no adapter; leave out --base, or name an adapter's directory"
            )
        return Folder(path, None, backend_of(path), device)
    named = _base_named(path) if base is None else base
    if named is None or not named.is_dir():
        said = (
            "names none"
            if named is None
            else f"says {str(named)!r:.80}, which is no directory here"
        )
        raise InvalidModel(
            f"{path} holds an adapter, which lies over another model: name its directory with --base "
            f"({CONFIG} {said})"
        )
    if has_adapter(named):
        raise InvalidModel(f"{named} holds an adapter, too; an adapter lies over a whole model")
    return Folder(named, path, device=device)


def adapter_over(path: Path, model: Path) -> Adapter:
    """The adapter in `path`, for the weights in `model`.

    Raises:
        InvalidModel: it is none of that model, or says that it lies over other weights.
    """
    adapter, over = read_adapter(path, read_config(model))
    if over is not None:
        weights = read_model(model, torch.bfloat16, under_adapter=path == model)
        digest = describe(dict(weights.named_parameters()), 0, None).state
        if digest != over.base:
            raise InvalidModel(
                f"{path} lies over the weights {over.base}; those in {model} are {digest}: use the model that it was "
                "trained on"
            )
    return adapter


def first_adapter(model: Path, form: AdapterForm | None) -> Adapter | None:
    """What a run's first version is made from, if more than the weights lie in its model directory.

    form: what the run's recipe trains; None: whole weights.

    Raises:
        InvalidModel: an adapter of another form, or of another model.
    """
    if not has_adapter(model):
        return None
    if form is None:
        raise InvalidModel(
            f"{model} holds an adapter, and the recipe trains whole weights; merge it, or give the recipe an [adapter]"
        )
    adapter = adapter_over(model, model)
    require_form(adapter, model, form)
    return adapter


def require_form(adapter: Adapter, path: Path, form: AdapterForm) -> None:
    """Refuse an adapter, from `path`, that a recipe does not go on training.

    Raises:
        InvalidModel: it is of another form.
    """
    if adapter.form != form:
        raise InvalidModel(
            f"{path} is {adapter.form}; the recipe's [adapter] is {form}: make them alike"
        )


def _base_named(path: Path) -> Path | None:
    try:
        said = read_json_object(path / CONFIG).get("base_model_name_or_path")
    except BadJsonFile as error:
        raise InvalidModel(str(error)) from None
    return Path(said) if isinstance(said, str) and said else None
