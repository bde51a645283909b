"""The adapters that the engine has now, of all that were published: what is longest unused goes first.

Parts: `InEngine`. Laws: an adapter that something runs with stays; the engine always has one that adds nothing, since beside
adapters it rounds otherwise than without any, and a base's answers must not hang on whether somebody else has one.
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass

from archipel.door.hands import CannotDo, Weights
from archipel.engine.engine import LocalEngine
from archipel.engine.protocol import WrongWeights
from archipel.model.adapter_files import WEIGHTS, read_adapter
from archipel.model.config_files import InvalidModel
from archipel.work.sampling import NOTHING, nothing

MARK = "adapter "
"""Before every name but that of the adapter that adds nothing."""
BYTES = 8
"""Of a number of an adapter in the engine: fp32, and laid out once more."""
FILE_BYTES = 2
"""Of one in a file, at least."""


@dataclass(frozen=True)
class Bounds:
    """Of all adapters in the engine."""

    most: int
    most_bytes: int


class InEngine:
    """By the names that their weights have."""

    def __init__(self, engine: LocalEngine, bounds: Bounds) -> None:
        """engine: has weights, and no adapter yet."""
        self._engine, self._bounds = engine, bounds
        self._bytes: OrderedDict[str, int] = OrderedDict()
        """The longest unused first."""
        self._uses = Counter[str]()
        engine.adapt(NOTHING, nothing(engine.config))

    def take(self, weights: Weights) -> bool:
        """Have it there for somebody who begins; whether there is room for it now.

        Raises:
            CannotDo: it is no adapter of this model, or larger than all that may be there.
        """
        name = weights.name
        if weights.adapter is None:
            return True
        if name not in self._bytes and not self._load(weights):
            return False
        self._bytes.move_to_end(name)
        self._uses[name] += 1
        return True

    def leave(self, weights: Weights) -> None:
        """Somebody who began with it has ended."""
        if weights.adapter is not None:
            self._uses[weights.name] -= 1

    def _load(self, weights: Weights) -> bool:
        path = weights.adapter
        assert path is not None  # noqa: S101 - `take` has looked
        try:
            size = (path / WEIGHTS).stat().st_size * BYTES // FILE_BYTES
        except OSError as error:
            raise CannotDo(
                f"the adapter cannot be read: {error.strerror}; publish it again"
            ) from None
        if size > self._bounds.most_bytes:
            raise CannotDo(
                f"the adapter takes up to {size} bytes beside the model, and all together may take "
                f"{self._bounds.most_bytes}; train one of a lower rank"
            )
        if not self._make_room(size):
            return False
        try:
            adapter, _ = read_adapter(path, self._engine.config)
            self._engine.adapt(MARK + weights.name, adapter)
        except (InvalidModel, WrongWeights) as error:
            raise CannotDo(f"the adapter cannot lie over this model: {error}") from None
        self._bytes[weights.name] = size
        return True

    def _make_room(self, size: int) -> bool:
        """For one more of so many bytes, by forgetting what nothing runs with."""
        bounds = self._bounds
        idle = [name for name in self._bytes if not self._uses[name]]
        kept = sum(self._bytes.values()) - sum(self._bytes[name] for name in idle)
        if len(self._bytes) - len(idle) >= bounds.most or kept + size > bounds.most_bytes:
            return False
        for name in idle:
            if (
                len(self._bytes) < bounds.most
                and sum(self._bytes.values()) + size <= bounds.most_bytes
            ):
                break
            self._engine.adapt(MARK + name, None)
            del self._bytes[name]
            del self._uses[name]
        return True


def engine_name(weights: Weights) -> str | None:
    """The engine's name for what lies over the base."""
    return None if weights.adapter is None else MARK + weights.name
