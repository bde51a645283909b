"""One trainer over several processes of one site, on one host or several: `torchrun` starts them, FSDP2 shards the model.

Parts: `Site` (who am I among how many) and the few operations that differ when there are several.
Every rank is handed the same groups and makes the same plan, so no data is sent between ranks but
gradients and gathered weights. FSDP2 averages gradients over ranks (gloo has no scaled sum), hence
a loss is multiplied by the number of ranks before its backward pass.
Law: with one process nothing here runs, and `torch.distributed` is never started by this package.
"""

from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

COLLECTIVE_LIMIT_S = 3600
"""A rank that waits longer for the others gives up: between two updates they may idle long."""


class OneProcessOnly(ValueError):
    """What is trained cannot be split over several processes."""


@dataclass(frozen=True)
class Site:
    """Which process this is among those that train together."""

    rank: int = 0
    world: int = 1
    hosts: int = 1
    """Machines that they are on, as many processes on each; ranks are counted host by host."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and publishes."""
        return self.rank == 0


def this_site() -> Site:
    """The process group that `torchrun` set up, or a site of one."""
    if not (dist.is_available() and dist.is_initialized()):
        return Site()
    return Site(dist.get_rank(), dist.get_world_size(), _Joined.hosts)


class _Joined:
    """What the process group does not know of itself; like it, one of a process."""

    hosts = 1


def shard(
    root: nn.Module,
    layers: nn.ModuleList,
    site: Site,
    dtype: torch.dtype,
    *,
    copies: bool = False,
) -> None:
    """Split parameters over the site's ranks, layer by layer, in place. `root.forward` gathers.

    dtype: what is computed in; parts and the sum of gradients stay float32. copies: every host holds all of them,
    in parts over its own ranks: what is gathered again and again, the frozen weights under an adapter, never
    crosses between hosts, and the adapter's small gradient does (HSDP).
    """
    if site.world == 1:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    device = next(root.parameters()).device.type
    if copies and site.hosts > 1:
        sizes = (site.hosts, site.world // site.hosts)
        mesh = init_device_mesh(device, sizes, mesh_dim_names=("hosts", "ranks"))
    else:
        mesh = init_device_mesh(device, (site.world,))
    narrow = None if dtype == torch.float32 else dtype
    policy = MixedPrecisionPolicy(
        param_dtype=narrow, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(root, mesh=mesh, mp_policy=policy)


def whole(tensor: Tensor) -> Tensor:
    """All of a sharded tensor, on every rank (a collective); a plain tensor as it is."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def own_part(tensor: Tensor) -> Tensor:
    """The storage this rank holds; writing to it writes to `tensor`."""
    local = getattr(tensor, "to_local", None)
    return tensor if local is None else local()


def zeros_beside(tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros of this whole shape, where `tensor` lies and shared out over ranks as it is."""
    mesh = getattr(tensor, "device_mesh", None)
    if mesh is None:
        return torch.zeros(shape, dtype=dtype, device=tensor.device)
    from torch.distributed.tensor import zeros

    placements = tensor.placements  # type: ignore[attr-defined]  # a DTensor, as device_mesh shows
    return zeros(*shape, dtype=dtype, device_mesh=mesh, placements=placements)


def fill(tensor: Tensor, full: Tensor) -> None:
    """Set a plain or sharded tensor to the values of `full`, which every rank holds."""
    mesh = getattr(tensor, "device_mesh", None)
    if mesh is None:
        tensor.copy_(full)
        return
    from torch.distributed.tensor import distribute_tensor

    placements = tensor.placements  # type: ignore[attr-defined]  # a DTensor, as device_mesh shows
    own_part(tensor).copy_(own_part(distribute_tensor(full, mesh, placements)))


def sum_over_ranks(values: Tensor, site: Site) -> Tensor:
    """Elementwise sum over the site (a collective)."""
    if site.world > 1:
        dist.all_reduce(values, op=dist.ReduceOp.SUM)
    return values


def max_over_ranks(values: Tensor, site: Site) -> Tensor:
    """Elementwise maximum over the site (a collective)."""
    if site.world > 1:
        dist.all_reduce(values, op=dist.ReduceOp.MAX)
    return values


def own_device(name: str) -> str:
    """Of the ranks of a host each computes on an accelerator of its own, by their order; on `cpu` all do."""
    if name == "cpu":
        return name
    number = dist.get_node_local_rank()
    if name == "cuda":
        torch.cuda.set_device(number)  # where NCCL gathers
    return f"{name}:{number}"


def join_site(hosts: int = 1, near: tuple[int, int, str] | None = None) -> Site:
    """Enter the process group of the ranks that `torchrun` started beside this one (gloo or NCCL).

    hosts: machines that the ranks are on, as many on each; they are counted host by host. near: on one host, which rank this is,
    of how many, and the new file in which they find each other; None: by torchrun's address, which any machine may ask.

    Raises:
        ValueError: the ranks do not share out evenly.
    """
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    limit = timedelta(seconds=COLLECTIVE_LIMIT_S)
    if near is None:
        dist.init_process_group(backend, timeout=limit)
    else:
        rank, world, file = near
        store = dist.FileStore(file, world)  # type: ignore[attr-defined]  # torch says it elsewhere
        dist.init_process_group(backend, timeout=limit, store=store, rank=rank, world_size=world)
    if dist.get_world_size() % hosts:
        raise ValueError(
            f"{dist.get_world_size()} ranks on {hosts} hosts; expected as many on each"
        )
    _Joined.hosts = hosts
    return this_site()


def share_bytes(data: bytes, site: Site) -> bytes:
    """The first rank's bytes on every rank (a collective); what others pass in is ignored."""
    if site.world == 1:
        return data
    length = torch.tensor([len(data)], dtype=torch.int64)
    dist.broadcast(length, src=0)
    held = torch.frombuffer(bytearray(data), dtype=torch.uint8) if site.is_first and data else None
    buffer = held if held is not None else torch.empty(int(length), dtype=torch.uint8)
    if len(buffer):
        dist.broadcast(buffer, src=0)
    return buffer.numpy().tobytes()


def has_own_part(tensor: Tensor, site: Site) -> bool:
    """Whether this rank is the one that writes down what it holds of a tensor: not all of nothing, and of copies the first."""
    mesh = getattr(tensor, "device_mesh", None)
    if mesh is None:
        return site.is_first
    placements = tensor.placements  # type: ignore[attr-defined]  # a DTensor, as device_mesh shows
    copies = zip(mesh.get_coordinate(), placements, strict=True)
    is_first = all(at == 0 for at, placement in copies if placement.is_replicate())
    return is_first and own_part(tensor).numel() > 0


def all_ranks_say(said: bytes, site: Site) -> list[bytes]:
    """What every rank said, by rank; all say as many bytes (a collective)."""
    if site.world == 1:
        return [said]
    mine = torch.frombuffer(bytearray(said), dtype=torch.uint8)
    heard = [torch.empty_like(mine) for _ in range(site.world)]
    dist.all_gather(heard, mine)
    return [each.numpy().tobytes() for each in heard]


def wait_for_all(site: Site) -> None:
    """Return once every rank has arrived."""
    if site.world > 1:
        dist.barrier()
