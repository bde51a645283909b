"""How an agent runs on this machine; every field has a safe default."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from archipel.records.statements import WorkKind


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """One agent."""

    lab_url: str
    home: Path
    """Keys, cache and logs; mode 0700."""
    kinds: tuple[WorkKind, ...] = ("rollout",)
    threads: int = 1
    ranks: int = 1
    """Processes of the trusted child, started by torchrun, that share one update (FSDP2)."""
    engine: Literal["archipel", "transformers", "vllm"] = "archipel"
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: str = "cpu"
    duty: float = 1.0
    """Share of the time this node may compute; 0.25 rests three times as long as it works."""
    latency_s: float = 0.0
    """Extra wait before each exchange with the lab: a far-away node, for experiments."""
    max_memory_bytes: int | None = None
    """Address space of the child on CPU; None leaves it to the machine."""
    poll_s: float = 20.0
    """How long one request for work waits at the lab."""
    give_up_s: float | None = None
    """End with an error when the lab stays unreachable this long; None tries for ever."""
    cache_bytes: int = 8 * 2**30
    """Fetched blobs are kept up to this size, beyond what the work at hand needs."""
    secrets: Path | None = None
    """Folder of the trusted role's secrets, one file each, mode 0600."""
    environment: dict[str, str] = field(default_factory=dict)
    """The child's whole environment, but for where its source lies."""
    readable: tuple[Path, ...] = ()
    """Folders the child may read besides Python itself and the cache."""

    @property
    def trusted(self) -> bool:
        """Does work that only authorised keys may do."""
        return "update" in self.kinds or "evaluate" in self.kinds
