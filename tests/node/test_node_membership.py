"""What a node brings to a lab: a delegation and an invitation from files, and an effort where it is asked for."""

import asyncio
from pathlib import Path

import pytest

from agents import LIMIT_S, SLOW, agent_of, num_groups_of, until
from archipel.identity import Identity
from archipel.node.membership import DELEGATION_FILE, INVITATION_FILE, opened, read, seal
from archipel.node.patience import NodeFailed
from archipel.records.membership import Delegation, Invitation, JoiningRuled, NotSigned
from archipel.records.statements import NodeJoined
from live import live
from people import identity
from world import World

BOSS, NODE = identity("boss"), identity("node")
SAID = Delegation(operator=BOSS.did, node=NODE.did, issued_ms=5)


def written(folder: Path, data: bytes) -> Path:
    path = folder / "delegation.json"
    path.write_bytes(data)
    return path


def test_what_was_sealed_is_read_again(tmp_path: Path) -> None:
    path = written(tmp_path, seal(BOSS, SAID).model_dump_json().encode())
    assert read(Delegation, path) == (SAID, seal(BOSS, SAID))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[" * 5000,
        seal(NODE, SAID).model_dump_json().encode(),
        seal(BOSS, SAID).model_dump_json().encode().replace(b'issued_ms\\":5', b'issued_ms\\":6'),
        seal(BOSS, SAID).model_dump_json().encode() + b" " * 5000 + b"x",
    ],
    ids=["empty", "no fields", "deep", "another's signature", "changed", "long"],
)
def test_a_file_that_holds_no_delegation_is_one_sentence(tmp_path: Path, data: bytes) -> None:
    path = written(tmp_path, data)
    with pytest.raises(NotSigned, match="holds no delegation") as error:
        read(Delegation, path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_invitation_is_no_delegation() -> None:
    said = Invitation(lab=BOSS.did, by=BOSS.did, name="0" * 16, uses=1, until_ms=9)
    with pytest.raises(NotSigned, match="holds no delegation"):
        opened(Delegation, seal(BOSS, said).model_dump_json().encode(), Path("file"))
    stranger = Identity.from_seed(bytes(32))
    with pytest.raises(NotSigned, match="holds no invitation"):
        opened(Invitation, seal(stranger, said).model_dump_json().encode(), Path("file"))


@pytest.mark.usefixtures("stub")
def test_a_node_comes_by_its_operators_word_an_invitation_and_an_effort(
    world: World, folder: Path
) -> None:
    world.started(**SLOW)
    rule = {"policy": "invited", "allowed": (), "effort_bits": 8, "places": 1}
    world.speak(world.operator, JoiningRuled, **rule)
    lab, until_ms = world.state.lab, 2**50

    async def story() -> None:
        async with live(world) as url:
            alone = agent_of(folder, url, "alone")
            with pytest.raises(NodeFailed, match="needs an invitation"):
                await asyncio.wait_for(alone.run(), LIMIT_S)
            agent = agent_of(folder, url, "mine")
            said = Delegation(operator=BOSS.did, node=agent.client.identity.did, issued_ms=5)
            given = Invitation(
                lab=lab, by=world.operator.did, name="0" * 16, uses=1, until_ms=until_ms
            )
            home = agent.settings.home
            (home / DELEGATION_FILE).write_text(seal(BOSS, said).model_dump_json())
            (home / INVITATION_FILE).write_text(seal(world.operator, given).model_dump_json())
            running = asyncio.create_task(agent.run())
            await until(lambda: num_groups_of(world) > 0)
            agent.stop()
            await asyncio.wait_for(running, LIMIT_S)

    world.await_(story())
    assert world.state.book[BOSS.did] > 0
    joined = [each for each in world.statements() if isinstance(each, NodeJoined) and each.effort]
    assert len(joined) == 1
    world.check_replay()


@pytest.mark.usefixtures("stub")
def test_a_delegation_to_another_key_ends_the_node_before_the_lab_hears_of_it(
    world: World, folder: Path
) -> None:
    world.started(**SLOW)

    async def story() -> None:
        async with live(world) as url:
            agent = agent_of(folder, url)
            (agent.settings.home / DELEGATION_FILE).write_text(
                seal(BOSS, SAID.model_copy(update={"node": BOSS.did})).model_dump_json()
            )
            with pytest.raises(NodeFailed, match="archipel operator delegate"):
                await asyncio.wait_for(agent.run(), LIMIT_S)

    world.await_(story())
    assert identity("node").did not in world.state.nodes
