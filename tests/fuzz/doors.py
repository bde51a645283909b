"""Every door that answers strangers over HTTP, but the lab's own, which `openapi` drives with signed bodies.

Law: a route that a door has and its description does not name is a failure of the campaign.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from fuzz.at_work import AtWork
from fuzz.doors_of_labs import a_follower, a_nodes_door, a_witness, pages
from fuzz.doors_of_models import a_model, a_pool, training

Opened = Callable[[Path], AbstractAsyncContextManager[AtWork]]
DOORS: Mapping[str, Opened] = {
    "model": a_model,
    "pool": a_pool,
    "training": training,
    "pages": pages,
    "follower": a_follower,
    "witness": a_witness,
    "node": a_nodes_door,
}
