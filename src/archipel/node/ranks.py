"""The processes that share one update: how many, on how many hosts, and where they meet.

Law: the first host's first rank is the trusted role's child; hosts have as many ranks each, counted host by host. On one host
nobody from elsewhere can reach them: they meet in files, and talk over loopback.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

MAX_RANKS, MAX_HOSTS = 64, 1024
"""Of a host; of a site."""
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
NEAR = {
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    "GLOO_SOCKET_IFNAME": LOOPBACK,
    "NCCL_SOCKET_IFNAME": LOOPBACK,
}
"""What keeps ranks of one host off its other addresses."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """Those of one host."""

    here: int = 1
    """Processes of this host, started by torchrun (FSDP2)."""
    hosts: int = 1
    """Machines that share the update."""
    host: int = 0
    """Which of them this is; 0 talks to the lab."""
    meeting: str = ""
    """HOST:PORT on the first one, where torchrun's processes meet; empty on a host that is alone."""

    def __post_init__(self) -> None:
        if not (1 <= self.here <= MAX_RANKS and 1 <= self.hosts <= MAX_HOSTS):
            raise ValueError(
                f"{self.here} ranks on each of {self.hosts} hosts; expected 1 to {MAX_RANKS} on 1 to {MAX_HOSTS}"
            )
        if not 0 <= self.host < self.hosts:
            raise ValueError(
                f"host {self.host} of {self.hosts}; they are counted from 0, so expected 0 to {self.hosts - 1}"
            )
        if (self.hosts > 1) != bool(self.meeting):
            raise ValueError(
                f"{self.hosts} hosts and {self.meeting or 'no place'} to meet; several hosts name one, HOST:PORT on "
                "the first of them, and one host names none"
            )
        if self.meeting and not _is_place(self.meeting):
            raise ValueError(f"{self.meeting!r:.200} is no place to meet; expected HOST:PORT")

    @property
    def is_alone(self) -> bool:
        """Whether there is one process and no torchrun."""
        return self.here == self.hosts == 1

    @property
    def is_near(self) -> bool:
        """Whether they are several, and all on this host."""
        return self.hosts == 1 and not self.is_alone

    def torchrun(self, file: Path | None = None) -> list[str]:
        """Arguments to Python that start this host's, up to what they run; ranks keep their numbers.

        file: a new one, of ranks on one host, that nobody else may write. torchrun keeps a pickle there of who has come;
        its `--standalone` hands that out, and takes it in, at a port that any machine may ask.
        """
        run = ["-m", "torch.distributed.run", f"--nproc-per-node={self.here}"]
        if self.hosts == 1:
            return [
                *run,
                "--rdzv-backend=c10d",
                f"--rdzv-endpoint={file}",
                "--rdzv-conf=store_type=file",
            ]
        address, port = self.meeting.rsplit(":", 1)
        return [
            *run,
            f"--nnodes={self.hosts}",
            f"--node-rank={self.host}",
            f"--master-addr={address.strip('[]')}",
            f"--master-port={port}",
        ]


def _is_place(meeting: str) -> bool:
    address, _, port = meeting.rpartition(":")
    return bool(address) and port.isdecimal() and 0 < int(port[:6]) < 65536


ALONE = Ranks()
