"""The base of a local door: read once, rounded, and held by the trainer's network and the engine.

Parts: `Base`, `load_base`. The engine lays out its products' weights for itself and shares the embedding and the norms; both have the same
bf16 values in fp32, so that what is sampled is what is trained.
"""

from dataclasses import dataclass
from pathlib import Path

from archipel.door.hands import CannotDo
from archipel.door.local.adapters import Bounds, InEngine
from archipel.door.local.fitting import Limits, Parted, check_base, part, token_bytes
from archipel.engine.engine import EngineLimits, LocalEngine
from archipel.engine.protocol import WrongWeights
from archipel.model.backends import backend_of
from archipel.model.config import DecoderConfig, InvalidConfig
from archipel.model.config_files import InvalidModel
from archipel.model.directory import read_config, read_model
from archipel.model.network import Decoder
from archipel.model.tokenizer import InvalidTokenizer, Tokenizer
from archipel.work.resident import frozen
from archipel.work.room import free_bytes


@dataclass(frozen=True, eq=False)
class Base:
    """One model, ready to be trained over and sampled from."""

    folder: Path
    config: DecoderConfig
    decoder: Decoder
    """Frozen; bf16 values in fp32."""
    engine: LocalEngine
    adapters: InEngine
    tokenizer: Tokenizer | None
    """None: the folder has none, and stop strings are refused."""
    parted: Parted
    """Memory that training may take."""

    @property
    def longest(self) -> int:
        """Tokens that a sequence may have, to be sampled and to be trained on."""
        return min(self.engine.longest, self.parted.pass_bytes // token_bytes(self.config))


def load_base(folder: Path, limits: Limits) -> Base:
    """From a model directory.

    Raises:
        CannotDo: it is no model of ours, or does not fit.
    """
    try:
        if backend_of(folder) != "archipel":
            raise CannotDo(
                f"{folder} is computed by transformers; expected a model of the families in "
                "docs/how-to/bring-a-model.md"
            )
        config = read_config(folder)
        check_base(config, limits, free_bytes())
        decoder = frozen(read_model(folder))
        engine = LocalEngine(config, limits=_engine_limits(limits))
        engine.load({name: each.detach() for name, each in decoder.named_parameters()})
    except (InvalidModel, InvalidConfig, WrongWeights) as error:
        raise CannotDo(str(error)) from None
    adapters = InEngine(engine, Bounds(limits.max_adapters, limits.max_adapter_bytes))
    parted = part(config, limits, free_bytes())
    return Base(folder, config, decoder, engine, adapters, _tokenizer(folder), parted)


def _engine_limits(limits: Limits) -> EngineLimits:
    serving = EngineLimits.serving(limits.max_cache_bytes)
    return EngineLimits(
        max_slots=limits.max_running,
        max_cache_bytes=limits.max_cache_bytes,
        max_step_tokens=serving.max_step_tokens,
        block=serving.block,
        max_prefix_bytes=serving.max_prefix_bytes,
    )


def _tokenizer(folder: Path) -> Tokenizer | None:
    try:
        return Tokenizer.from_directory(folder)
    except InvalidTokenizer:
        return None
