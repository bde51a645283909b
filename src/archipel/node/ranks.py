"""The processes that share one update: how many, on how many hosts, and where they meet.

Law: the first host's first rank is the trusted role's child; hosts have as many ranks each, counted host by host.
"""

from dataclasses import dataclass

MAX_RANKS, MAX_HOSTS = 64, 1024
"""Of a host; of a site."""


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

    def torchrun(self) -> list[str]:
        """Arguments to Python that start this host's, up to what they run; ranks keep their numbers."""
        run = ["-m", "torch.distributed.run", f"--nproc-per-node={self.here}"]
        if self.hosts == 1:
            return [*run, "--standalone"]
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
