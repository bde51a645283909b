"""A door over a real network: a lab and two nodes as processes, one of which dies in the middle of a turn."""

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest

from archipel.bench.site import Site
from archipel.cli.door_network import Network, network_hands
from archipel.door.hands import ModelForm, SampleAsked, Turn, Weights
from archipel.identity import Identity
from archipel.model.directory import read_model
from archipel.records.adapter import AdapterForm
from archipel.records.kinds.adapt import AdaptSpec
from archipel.records.recipe_door import DoorRecipe
from archipel.records.statements import LeaseGranted, WorkAnswered
from archipel.training.tenants.operations import Datum, ForwardBackward, Operation, OptimStep
from archipel.training.tenants.state import FILES
from archipel.training.tenants.tenants import Tenants, TenantTurn
from archipel.work.resident import frozen
from stage import EVERY_PROCESS
from tiny import write_start

NAME, RUN, LIMIT_S = "tiny/base", "open-door", 240.0
FORM = AdapterForm(
    rank=4, alpha_micro=32_000_000, targets=("q_proj", "down_proj"), rank_stabilised=False
)
BEGINS = ModelForm(NAME, FORM, 5)


def scored(seed: int, count: int) -> ForwardBackward:
    drawn = np.random.default_rng(seed)
    data = []
    for number in range(count):
        tokens = drawn.integers(0, 8, 6 + number % 20).astype(np.int32)
        inputs = {
            "target_tokens": np.roll(tokens, -1).astype(np.int64),
            "weights": np.ones(len(tokens), np.float32),
        }
        data.append(Datum(tokens, inputs))
    return ForwardBackward(tuple(data), "cross_entropy")


STEP = OptimStep(1e-2)
TURNS: tuple[tuple[Operation, ...], ...] = (
    (scored(1, 3), STEP),
    (scored(2, 3), STEP),
    (scored(3, 500), STEP, scored(4, 500), STEP),
    (scored(5, 3),),
)
LONG = 2
"""In which turn the node dies that has it."""


def alone(start: Path, folder: Path) -> bytes:
    """The state after the same operations, done in this process by itself."""
    tenants = Tenants(frozen(read_model(start)))
    state = tenants.create(FORM, BEGINS.seed)
    for each in TURNS:
        tenants.run([TenantTurn(state, each)])
    state.write(folder)
    return (folder / FILES[0]).read_bytes()


def asked(adapter: Path | None) -> SampleAsked:
    weights = Weights(NAME, adapter, "" if adapter is None else adapter.name)
    return SampleAsked(
        weights, "ada", 1, (1, 2, 3), 2, 5, 7, 1.0, -1, 1.0, (), (), True, 2, 0, ((1, 4),)
    )  # fmt: skip


async def killed(site: Site) -> str:
    """The node that trains, by the lab's word, gets no last one."""
    names = {site.did(name): name for name in ("first", "second")}
    until_s = time.monotonic() + LIMIT_S
    while time.monotonic() < until_s:
        for lease in await asyncio.to_thread(site.leases):
            if lease.kind == "adapt":
                site.kill(names[lease.node])
                return names[lease.node]
        await asyncio.sleep(0.02)
    raise AssertionError("nobody trained")


async def played(site: Site, key: Path, folder: Path) -> bytes:
    network = Network(site.url, RUN, key, (NAME,))
    async with network_hands(network, folder / "door") as hands:
        await hands.create("m", BEGINS)
        for number, each in enumerate(TURNS[:LONG]):
            await hands.train(Turn("m", "ada", 1, each))
            if number == 0:
                await hands.keep("m", folder / "kept")
        under_way = asyncio.create_task(hands.train(Turn("m", "ada", 1, TURNS[LONG])))
        await killed(site)
        done = await under_way
        assert len(done.outcomes) == len(TURNS[LONG])
    # The door is another process now, which knows what was kept after the first turn.
    async with network_hands(network, folder / "door") as hands:
        await hands.restore("m", BEGINS, folder / "kept", optimiser=True)
        again = tuple(operation for each in TURNS[1:] for operation in each)
        assert len((await hands.train(Turn("m", "ada", 1, again))).outcomes) == len(again)
        await hands.keep("m", folder / "whole")
        await hands.publish("m", folder / "adapter")
        with_adapter, plain = await asyncio.gather(
            hands.sample(asked(folder / "adapter")), hands.sample(asked(None))
        )
        assert with_adapter.prompt_logprobs is not None
        assert plain.prompt_logprobs is not None
        assert with_adapter.prompt_logprobs[1] != plain.prompt_logprobs[1]
        again_asked = await hands.sample(asked(folder / "adapter"))
        assert again_asked.sequences[0].logprobs == with_adapter.sequences[0].logprobs
    return (folder / "whole" / FILES[0]).read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_turn_whose_node_was_killed_ends_as_it_does_alone_and_a_new_door_asks_nothing_twice(
    tmp_path: Path,
) -> None:
    start, key = write_start(tmp_path), tmp_path / "door.key"
    recipe = DoorRecipe.model_validate(
        {
            "run": {"name": RUN, "programme": "door"},
            "door": {"key": Identity.load_or_create(key).did},
            "lease": {"min_deadline_s": 5.0, "max_deadline_s": 30.0},
        }
    )
    with Site(tmp_path / "site", EVERY_PROCESS) as site:
        site.start_lab()
        trusted = ["first", "second"]
        for name in trusted:
            site.did(name)
        site.open_run(recipe, start, trusted)
        for name in trusted:
            site.start_node(name, ["--threads", "1"])
        whole = asyncio.run(played(site, key, tmp_path))
        history = [said for _, said in site.history()]
    assert whole == alone(start, tmp_path / "alone")
    grants = [said for said in history if isinstance(said, LeaseGranted)]
    trained = [grant for grant in grants if isinstance(grant.spec, AdaptSpec)]
    answered = {said.work for said in history if isinstance(said, WorkAnswered)}
    assert [g.spec.question for g in trained if g.work in answered] == [1, 2, 3, 4]
    long = [grant.node for grant in trained if grant.spec.question == 3]
    assert len(long) == 2, "it was given to another node"
    assert len(set(long)) == 2
