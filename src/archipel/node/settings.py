"""How an agent runs on this machine; every field has a safe default."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from archipel.blobs.store import MAX_STORE_BYTES
from archipel.node.asks import Asking
from archipel.node.pausing import Pausing
from archipel.node.ranks import ALONE, Ranks
from archipel.plurals import counted
from archipel.records.kinds import STRANGERS, TRUSTED
from archipel.records.spread import ONE_DEVICE, Spread
from archipel.records.statements import RunOpened

MEMORY_SHARE_PERCENT = 75
"""Of the machine's memory that a child may fill by default; the rest is for the agent and its owner."""
MIN_MEMORY_BYTES = 4 * 2**30
"""Address space that the tensor library and its threads take before they hold any weights (0.7 GB
with one thread, 1.9 GB with 16, more in builds for accelerators): a lower bound would only keep the
child from starting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """One agent."""

    lab_url: str
    home: Path
    """Keys, cache and logs; mode 0700."""
    node_home: Path | None = None
    """Where a node that serves several labs keeps what it knows of all of them; None: `home`."""
    kinds: tuple[str, ...] = STRANGERS
    threads: int = 1
    ranks: Ranks = ALONE
    """Processes that share one update; the first of them is the trusted child."""
    engine: Literal["archipel", "transformers", "vllm"] = "archipel"
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: str = "cpu"
    engines: int = 1
    """Processes of the child that sample side by side, each on a device of its own where there are several."""
    spread: Spread = ONE_DEVICE
    """Over how many devices each of them splits its model."""
    duty: float = 1.0
    """Share of the time this node may compute; 0.25 rests three times as long as it works."""
    pausing: Pausing = field(default_factory=Pausing)
    """When this node leaves its machine to others."""
    asking: Asking = field(default_factory=Asking)
    """What it asks for its work, where work is traded."""
    lab_key: str | None = None
    """The key that the lab at `lab_url` must have; None: the one that it had when it was first met."""
    check_lab: Callable[[str], None] | None = None
    """Looks at the key of the lab that was met; raises NodeFailed where it is not to be served."""
    delegation: Path | None = None
    """The operator's word for this node's key; None: `home/delegation.json`, if it is there."""
    invitation: Path | None = None
    """The lab's; None: `home/invitation.json`, if it is there."""
    serve_blobs: tuple[str, int] | None = None
    """Where to listen for other nodes, which fetch published versions here; None: this node only dials out."""
    mirrors: tuple[str, ...] = ()
    """Addresses where blobs are asked for before the lab; none is believed."""
    serve_rate: int = 2_500_000
    """Bytes a second that all of them get together."""
    latency_s: float = 0.0
    """Extra wait before each exchange with the lab: a far-away node, for experiments."""
    max_memory_bytes: int | None = None
    """Address space of the child; None is a share of this machine's memory, see `memory_bound`."""
    max_scratch_bytes: int = 4 * 2**30
    """What a child that does strangers' work may write, in one file and in all together, until it is
    delivered."""
    lasting_bytes: int = 8 * 2**30
    """What strangers' runs may keep here between their works, all together; the one worked for longest ago goes first."""
    disk_bytes: int = MAX_STORE_BYTES
    """What fetched blobs may fill at most, work at hand and cache together."""
    poll_s: float = 20.0
    """How long one request for work waits at the lab."""
    give_up_s: float | None = None
    """End with an error when the lab stays unreachable this long; None tries for ever."""
    cache_bytes: int = 8 * 2**30
    """Fetched blobs are kept up to this size, beyond what the work at hand needs."""
    secrets: Path | None = None
    """Folder of the trusted role's secrets, one file each, mode 0600."""
    any_recipe: bool = False
    """The trusted role also does runs whose recipe its operator did not approve (`approvals`)."""
    environment: dict[str, str] = field(default_factory=dict)
    """The child's whole environment, but for where its source lies."""
    turns_network: bool = False
    """The trusted role's environments that answer turns may reach the network."""
    judge: Callable[[str, str, str, tuple[RunOpened, ...]], str | None] | None = None
    """(address, a lab that was known, who says to continue it, runs) -> why this key's ledger, which lies there, does not
    continue that lab and one of these runs, by all its entries; None: it does. None in its place: only who was named is followed."""
    readable: tuple[Path, ...] = ()
    """Folders the child may read besides Python itself and the cache."""

    @property
    def kept_in(self) -> Path:
        """Where the node keeps which labs it knows, and what it did for them."""
        return self.node_home or self.home

    @property
    def trusted(self) -> bool:
        """Does work that only authorised keys may do."""
        return not TRUSTED.isdisjoint(self.kinds)

    @property
    def several(self) -> str:
        """What the child samples with, if that is several processes; nothing if it is the child itself."""
        over = "" if self.spread.is_one else f" on {self.spread.devices} devices"
        if self.engines > 1:
            return counted(self.engines, "engine") + (f", each{over}" if over else "")
        return f"{self.engine}{over}" if self.engine == "vllm" else ""

    @property
    def devices(self) -> int:
        """How many sample at once: accelerators, or processes with `threads` each."""
        return self.engines * self.spread.devices

    def memory_bound(self) -> int | None:
        """Bytes of address space that the child may map; None for no bound.

        What a lab sends may swell as far as its manifest claims, so a child without a bound can
        take the whole machine down. Address space counts what is mapped, used or not: on
        accelerators, whose drivers reserve far more than they use, only a bound that was asked for
        holds. Memory that a container allows may be less than the machine's: ask for a bound there.
        """
        if self.max_memory_bytes is not None or self.device != "cpu":
            return self.max_memory_bytes
        return default_memory_bound(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def default_memory_bound(machine_bytes: int) -> int:
    """A share of the machine's memory, and never less than the tensor library needs to start."""
    return max(machine_bytes * MEMORY_SHARE_PERCENT // 100, MIN_MEMORY_BYTES)
