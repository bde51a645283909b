"""A lab's key is remembered: another key at the same address is refused until it is confirmed."""

import asyncio
from pathlib import Path

import pytest

from agents import LIMIT_S, SLOW, agent_of, num_groups_of, until
from archipel.node.known_labs import FILE, check_lab, known_labs
from archipel.node.patience import NodeFailed
from live import live
from people import identity
from world import World

URL = "http://lab:8440"
OLD, NEW = identity("lab").did, identity("another lab").did


def test_the_first_key_is_remembered_and_another_refused_with_what_to_do(tmp_path: Path) -> None:
    check_lab(tmp_path, URL, OLD, None)
    check_lab(tmp_path, URL, OLD, None)
    check_lab(tmp_path, "http://elsewhere", NEW, None)
    with pytest.raises(NodeFailed) as caught:
        check_lab(tmp_path, URL, NEW, None)
    text = str(caught.value)
    assert OLD in text
    assert f"join with --lab-key {NEW}" in text
    assert known_labs(tmp_path) == {URL: OLD, "http://elsewhere": NEW}
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_naming_the_new_key_confirms_it_and_names_no_other(tmp_path: Path) -> None:
    check_lab(tmp_path, URL, OLD, None)
    with pytest.raises(NodeFailed, match="as --lab-key says"):
        check_lab(tmp_path, URL, NEW, OLD)
    check_lab(tmp_path, URL, NEW, NEW)
    check_lab(tmp_path, URL, NEW, None)
    assert known_labs(tmp_path) == {URL: NEW}


def test_a_named_key_is_asked_for_at_the_first_meeting_too(tmp_path: Path) -> None:
    with pytest.raises(NodeFailed, match=f"expected {OLD}"):
        check_lab(tmp_path, URL, NEW, OLD)
    assert known_labs(tmp_path) == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"http://lab:8440": 3}', b"\xff"])
def test_a_damaged_memory_is_not_taken_for_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(NodeFailed, match=f"delete .*{FILE}"):
        check_lab(tmp_path, URL, NEW, None)
    assert (tmp_path / FILE).read_bytes() == content


@pytest.mark.usefixtures("stub")
def test_a_node_works_for_no_other_lab_at_a_known_address(world: World, folder: Path) -> None:
    world.started(**SLOW)

    async def story() -> None:
        async with live(world) as url:
            agent = agent_of(folder, url)
            (agent.settings.home / FILE).write_text(f'{{"{url}": {{"lab": "{NEW}"}}}}')
            with pytest.raises(NodeFailed, match="another key"):
                await asyncio.wait_for(agent.run(), LIMIT_S)
            assert num_groups_of(world) == 0
            assert identity("node").did not in world.state.nodes, "it was not spoken to"
            confirmed = agent_of(folder, url, lab_key=world.state.lab)
            running = asyncio.create_task(confirmed.run())
            await until(lambda: num_groups_of(world) > 0)
            confirmed.stop()
            await asyncio.wait_for(running, LIMIT_S)
            assert known_labs(agent.settings.home) == {url: world.state.lab}

    world.await_(story())
