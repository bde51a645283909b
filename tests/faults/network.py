"""Kind `network`: everything between agents and lab passes a relay that cuts, resets, delays and garbles.

Bytes that were garbled must never become anything that is believed: the weights say so.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.proxy import BadNetwork
from faults.worlds import Bench, Told, World, world


def run(seed: int, bench: Bench, folder: Path) -> Told:
    """8 to 30 spoilt connections."""
    rng = random.Random(f"network {seed}")
    with world(bench, folder) as made:
        made.open_lab()
        with _bad_network(made, seed, rng.randint(8, 30)) as network:
            with made.reached_at(network.url):
                made.open_run()
                made.start_nodes([f"node{number}" for number in range(rng.choice((2, 3)))])
            told = made.told()
        notes = [f"{count} {what}" for what, count in sorted(network.faults.items())]
        hits = {f"{what}: network": count for what, count in network.faults.items()}
        return Told(told.wrong, network.faults.total(), ", ".join(notes), hits)


@contextmanager
def _bad_network(made: World, seed: int, most: int) -> Iterator[BadNetwork]:
    network = BadNetwork(int(made.address.rsplit(":", 1)[1]), f"network {seed}", most)
    network.open()
    try:
        yield network
    finally:
        network.close()
