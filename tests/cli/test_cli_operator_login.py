"""`archipel operator login`, `pause` and `resume` at a lab behind a socket: what is signed, what is asked, what is said."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from archipel.cli import operator_login
from archipel.cli.archipel import command
from archipel.identity import Identity
from archipel.node.exchange import LabRefused
from archipel.node.login import Terminal
from archipel.records.login import Outcome, Wish
from dashboard.login_scene import BOSS, OTHER, Scene
from live import live


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Scene]:
    made = Scene()
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(Identity, "load", lambda *asked: BOSS)
    yield made
    made.close()


def at(scene: Scene, *commands: tuple[str, ...], pages: bool = True) -> list[Result]:
    """What each of these commands came to."""

    async def whole() -> list[Result]:
        async with live(scene.world, pages=scene.door.routes() if pages else ()) as url:
            asked = [["operator", *words, "--lab", url] for words in commands]
            return [await asyncio.to_thread(CliRunner().invoke, command, each) for each in asked]

    return asyncio.run(whole())


def said(done: Result) -> str:
    return done.output + (str(done.exception) if done.exception else "")


def test_a_node_is_paused_and_resumed_with_one_command_each(scene: Scene) -> None:
    did = scene.node.did
    paused, again, resumed, foreign = at(
        scene,
        ("pause", did, "--reason", "hot"),
        ("pause", did),
        ("resume", did, "--json"),
        ("pause", scene.foreign.did),
    )
    assert paused.output.startswith(f"{did} is paused, entry ")
    assert "paused already" in said(again)
    assert json.loads(resumed.output)["node"] == did
    assert not scene.world.state.paused
    assert "may not say" in said(foreign)
    reasons = [each.reason for each in scene.world.statements() if each.kind == "node.paused"]  # type: ignore[attr-defined]
    assert reasons == ["hot"]


def test_logging_in_once_prints_a_link_and_signs_nothing_in_the_ledger(scene: Scene) -> None:
    scene.door._now_ms = lambda: scene.world.lab.clock_ms()
    before = scene.world.state.size
    (done,) = at(scene, ("login", "--once", "--no-browser", "--json"))
    assert done.exit_code == 0, said(done)
    told = json.loads(done.output)
    assert told["by"] == BOSS.did
    assert "/pages/login#" in told["link"]
    assert len(scene.sessions) == 1
    assert scene.world.state.size == before
    (without,) = at(scene, ("login", "--once", "--no-browser"), pages=False)
    assert "shows no pages to log in at" in said(without)


def test_a_challenge_of_another_lab_is_not_signed(scene: Scene) -> None:
    scene.door._now_ms = lambda: scene.world.lab.clock_ms()
    scene.sessions.challenges.lab = OTHER.did
    (done,) = at(scene, ("login", "--once", "--no-browser"))
    assert "the challenge is of lab" in said(done)
    assert len(scene.sessions) == 0


def test_the_terminal_signs_what_was_clicked_for_its_own_nodes_and_ends_the_session(
    scene: Scene,
) -> None:
    scene.door._now_ms = lambda: scene.world.lab.clock_ms()
    did = scene.node.did

    async def story() -> None:
        async with (
            live(scene.world, pages=scene.door.routes()) as url,
            Terminal(url, BOSS) as terminal,
        ):
            told = await terminal.log_in()
            session = scene.sessions.of_secret(told.secret, scene.world.lab.clock_ms())
            scene.sessions.attend(session, 0, (), scene.world.lab.clock_ms())
            for act in ("pause", "resume", "retire"):
                scene.sessions.wish(session, act, did, scene.world.lab.clock_ms())  # type: ignore[arg-type]
            found = await terminal.wishes(())
            assert [(each.number, each.act) for each in found] == [(1, "pause"), (2, "resume"), (3, "retire")]  # fmt: skip
            await terminal.sign_wish(found[0])
            assert did in scene.world.state.paused
            await terminal.sign_wish(found[1])
            assert did not in scene.world.state.paused
            await terminal.sign_wish(found[2])
            assert scene.world.state.delegations[did].revoked == "its operator clicked it"
            with pytest.raises(LabRefused, match="may not say"):  # invented by the lab
                await terminal.sign_wish(Wish(number=4, act="pause", node=scene.foreign.did))
            await terminal.end()
            with pytest.raises(LabRefused) as over:
                await terminal.wishes((Outcome(number=3, said="done"),))
            assert over.value.status == 401

    asyncio.run(story())


@pytest.mark.parametrize(("answer", "num_signed"), [("n\n", 0), ("y\n", 1)])
def test_retiring_is_asked_at_the_terminal_and_the_rest_is_shown(
    answer: str, num_signed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Signing:
        signed = 0

        async def sign_wish(self, wish: Wish) -> object:
            self.signed += 1
            return type("Receipt", (), {"index": 7})()

    def carried_out() -> None:
        with asyncio.Runner() as runner:
            wish = Wish(number=1, act="retire", node=BOSS.did)
            operator_login._carried_out(runner, terminal, wish, False, False)  # type: ignore[arg-type]

    import click

    terminal = Signing()
    shown = CliRunner().invoke(click.command()(carried_out), input=answer)
    assert shown.output.startswith(
        f"clicked: take back for good that this operator vouches for {BOSS.did}"
    )
    assert terminal.signed == num_signed
    assert ("is retired, entry 7" in shown.output) is bool(num_signed)
