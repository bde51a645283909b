"""The log-in attacked over HTTP: each secret is good once, for its own lab, from its own page, for its own nodes."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest

from archipel.dashboard.chronicle.file import ChronicleUnusable
from archipel.dashboard.sessions import own as own_pages
from archipel.dashboard.sessions import rates
from archipel.dashboard.sessions.challenges import CHALLENGE_MS
from archipel.dashboard.sessions.sessions import (
    MAX_PER_KEY,
    SESSION_MS,
    TOKEN_MS,
    NoSession,
    NotNow,
)
from archipel.records.login import MAX_LOGIN_BYTES, MAX_WISHES
from archipel.records.statements import RECORD_TYPE
from dashboard.login_scene import BOSS, ORIGIN, OTHER, OWN, FirstPay, Scene, opened, post, run
from people import identity


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.close()


async def said(scene: Scene, data: bytes, address: str = "10.0.0.1") -> httpx.Response:
    async with scene.browser(address) as browser:
        return await browser.post("/pages/login", content=data)


def test_an_operator_logs_in_and_its_browser_reads_its_own_page(scene: Scene) -> None:
    async def story() -> None:
        async with scene.browser() as browser:
            asked = (await browser.get("/pages/login/challenge")).json()
            assert asked["lab"] == scene.world.state.lab
            told = (await said(scene, scene.signed(challenge=asked["challenge"], until_ms=asked["until_ms"]))).json()  # fmt: skip
            assert (await browser.get("/pages/me")).status_code == 303
            assert (await browser.get("/pages/me.json")).status_code == 401
            answer = await post(browser, "/login/token", {"secret": told["token"]})
            cookie = answer.headers["set-cookie"]
            for word in (
                "HttpOnly",
                "SameSite=strict",
                "Path=/pages",
                f"Max-Age={SESSION_MS // 1000}",
            ):
                assert word in cookie
            assert "Secure" not in cookie, "the lab speaks plain HTTP here"
            page = await browser.get("/pages/me")
            assert page.status_code == 200
            assert scene.node.did in page.text
            assert scene.foreign.did not in page.text
            assert "default-src 'none'" in page.headers["content-security-policy"]
            assert page.headers["cache-control"] == "no-store"
            own = (await browser.get("/pages/me.json")).json()
            assert [each["node"] for each in own["machines"]] == [scene.node.did]

    run(story())


def test_under_https_the_cookie_travels_no_other_way(scene: Scene) -> None:
    async def story() -> None:
        told = scene.told()
        transport = httpx.ASGITransport(scene.app)
        async with httpx.AsyncClient(
            transport=transport, base_url="https://lab.example"
        ) as browser:
            own = {"Origin": "https://lab.example", "Sec-Fetch-Site": "same-origin"}
            answer = await post(browser, "/login/token", {"secret": told.token}, own)
            assert "Secure" in answer.headers["set-cookie"]

    run(story())


def test_a_challenge_is_answered_once_by_its_own_lab_in_its_time(scene: Scene) -> None:
    async def story() -> None:
        data = scene.signed()
        assert (await said(scene, data)).status_code == 200
        again = await said(scene, data)
        assert (again.status_code, "answered before" in again.text) == (403, True)
        foreign = await said(scene, scene.signed(lab=OTHER.did))
        assert (foreign.status_code, "is for lab" in foreign.text) == (403, True)
        longer = await said(scene, scene.signed(until_ms=scene.now_ms + 10 * CHALLENGE_MS))
        assert (longer.status_code, "none of this lab's" in longer.text) == (403, True)
        made_up = await said(scene, scene.signed(challenge="0" * 96))
        assert "none of this lab's" in made_up.text
        late = scene.signed()
        scene.now_ms += CHALLENGE_MS
        assert "held until" in (await said(scene, late)).text

    run(story())


def test_only_a_key_with_nodes_here_and_its_own_signature_logs_in(scene: Scene) -> None:
    async def story() -> None:
        stranger = await said(scene, scene.signed(identity("stranger")))
        assert (stranger.status_code, "no node of" in stranger.text) == (403, True)
        in_its_name = await said(scene, scene.signed(OTHER, by=BOSS.did))
        assert in_its_name.status_code == 401
        as_record = await said(scene, scene.signed(kind=RECORD_TYPE))
        assert as_record.status_code == 400
        spoilt = scene.signed().replace(b'"sig":"', b'"sig":"AAAA')
        assert (await said(scene, spoilt)).status_code in (400, 401)
        assert (await said(scene, scene.signed(scene.alone.identity))).status_code == 200
        assert (await said(scene, scene.signed(scene.node.identity))).status_code == 403, (
            "its operator's"
        )
        assert len(scene.sessions) == 1

    run(story())


def test_a_token_is_good_once_and_for_a_minute(scene: Scene) -> None:
    async def story() -> None:
        told = scene.told()
        async with scene.browser() as first, scene.browser() as thief:
            assert (await post(first, "/login/token", {"secret": told.token})).status_code == 200
            answer = await post(thief, "/login/token", {"secret": told.token})
            assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
            assert (await thief.get("/pages/me.json")).status_code == 401
            late = scene.told()
            scene.now_ms += TOKEN_MS
            assert (await post(thief, "/login/token", {"secret": late.token})).status_code == 401
            secret = scene.told().secret
            assert (await post(thief, "/login/token", {"secret": secret})).status_code == 401

    run(story())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Origin": f"{ORIGIN}.evil.example", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_another_sites_page_cannot_click_log_in_or_log_out(
    scene: Scene, headers: dict[str, str]
) -> None:
    async def story() -> None:
        browser, told = await opened(scene)
        scene.sessions.attend(
            scene.sessions.of_secret(told.secret, scene.now_ms), 0, (), scene.now_ms
        )
        wished = {"act": "pause", "node": scene.node.did}
        for path, body in (("/me/wish", wished), ("/logout", {}), ("/login/token", {"secret": scene.told().token})):  # fmt: skip
            assert (await post(browser, path, body, headers)).status_code == 403, path
        assert (await browser.get("/pages/me.json")).json()["wishes"] == []
        form = await browser.post("/pages/me/wish", data=wished, headers=OWN)
        assert form.status_code == 415
        await browser.aclose()

    run(story())


def test_a_click_reaches_the_terminal_and_nobody_else_and_comes_back_as_words(scene: Scene) -> None:
    async def story() -> None:
        browser, told = await opened(scene)
        wished = {"act": "pause", "node": scene.node.did}
        early = await post(browser, "/me/wish", wished)
        assert (early.status_code, "no terminal" in early.text) == (409, True)
        async with scene.browser() as terminal:
            polling = asyncio.ensure_future(post(terminal, "/login/wishes", {"secret": told.secret, "after": 0}, {}))  # fmt: skip
            await asyncio.sleep(0.05)
            assert not polling.done(), "it waits"
            for other in (scene.foreign.did, scene.alone.did, OTHER.did):
                answer = await post(browser, "/me/wish", {"act": "pause", "node": other})
                assert (answer.status_code, "is no node of" in answer.text) == (403, True)
            assert (await post(browser, "/me/wish", wished)).status_code == 200
            assert (await polling).json() == {"wishes": [{"number": 1} | wished]}
            assert "the terminal is asked" in (await browser.get("/pages/me")).text
            said = {"number": 1, "said": "it is <b>paused</b>"}
            polling = asyncio.ensure_future(post(terminal, "/login/wishes", {"secret": told.secret, "after": 1, "outcomes": [said]}, {}))  # fmt: skip
            await asyncio.sleep(0.05)
            page = (await browser.get("/pages/me")).text
            assert "it is &lt;b&gt;paused&lt;/b&gt;" in page
            assert "the terminal is asked" not in page
            assert (
                await post(terminal, "/login/end", {"secret": told.secret}, {})
            ).status_code == 200
            assert (await polling).status_code == 401
            assert (await browser.get("/pages/me.json")).status_code == 401
        await browser.aclose()

    run(story())


def test_a_session_ends_with_its_time_its_logout_and_its_keys_ninth_log_in(scene: Scene) -> None:
    async def story() -> None:
        browser, told = await opened(scene)
        others = [await opened(scene) for _ in range(MAX_PER_KEY - 1)]
        _, foreign = await opened(scene, OTHER)
        assert (await browser.get("/pages/me.json")).status_code == 200
        await opened(scene)
        assert (await browser.get("/pages/me.json")).status_code == 401, "the oldest of its key's"
        with pytest.raises(NoSession):
            scene.sessions.of_secret(told.secret, scene.now_ms)
        last = others[0][0]
        cookie = last.cookies["archipel_session"]
        assert scene.sessions.who(cookie, scene.now_ms) == BOSS.did
        assert (await post(last, "/logout", {})).status_code == 200
        assert scene.sessions.who(cookie, scene.now_ms) is None
        assert scene.sessions.of_secret(foreign.secret, scene.now_ms).by == OTHER.did
        scene.now_ms += SESSION_MS
        assert len(scene.sessions) == MAX_PER_KEY, "nobody looked"
        assert scene.sessions.who(None, scene.now_ms) is None
        assert len(scene.sessions) == 0

    run(story())


def test_nothing_that_is_kept_opens_anything(scene: Scene) -> None:
    told = scene.told()
    cookie = scene.sessions.redeem(told.token, scene.now_ms)
    session = scene.sessions.of_secret(told.secret, scene.now_ms)
    kept = {session.secret, session.cookie}
    assert kept.isdisjoint({told.secret, told.token, cookie})
    for each in kept:
        assert scene.sessions.who(each, scene.now_ms) is None
        with pytest.raises(NoSession):
            scene.sessions.of_secret(str(each), scene.now_ms)
    assert scene.sessions.who(told.secret, scene.now_ms) is None, "a terminal's is no browser's"


def test_floods_are_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MAX_ADDRESSES", 3)

    async def story() -> None:
        answers = [(await said(scene, b"{}")).status_code for _ in range(rates.BURST + 1)]
        assert answers == [400] * rates.BURST + [429]
        assert (await said(scene, b"{}", "10.0.0.2")).status_code == 400, "others come in"
        large = await said(scene, b"x" * (MAX_LOGIN_BYTES + 1), "10.0.0.3")
        assert large.status_code == 413

    run(story())
    told = scene.told()
    session = scene.sessions.of_secret(told.secret, scene.now_ms)
    scene.sessions.attend(session, 0, (), scene.now_ms)
    for _ in range(MAX_WISHES):
        scene.sessions.wish(session, "pause", scene.node.did, scene.now_ms)
    with pytest.raises(NotNow, match="wait for the terminal"):
        scene.sessions.wish(session, "pause", scene.node.did, scene.now_ms)
    for name in ("a", "b", "c", "d", "e"):
        scene.door._rates.take(name, scene.now_ms)
    assert len(scene.door._rates._left) <= 3


def test_the_page_says_how_soon_the_first_earnings_came_and_which_entry_shows_it() -> None:
    scene = Scene(FirstPay(7, 250))

    async def story() -> tuple[dict[str, Any], str]:
        browser, _ = await opened(scene)
        found = (await browser.get("/pages/me.json")).json(), (await browser.get("/pages/me")).text
        await browser.aclose()
        return found

    own, page = run(story())
    assert own["first_entry"] == 7
    assert own["first"].startswith("first earnings ")
    assert '<a href="/pages/ledger/7">' in page
    scene.close()


def test_an_operators_page_is_answered_while_the_chronicle_cannot_be_read() -> None:
    class Broken:
        def first_pay(self, accounts: Sequence[str]) -> None:
            raise ChronicleUnusable("damaged")

    scene = Scene(Broken())

    async def story() -> tuple[dict[str, Any], int]:
        browser, _ = await opened(scene)
        found = (
            (await browser.get("/pages/me.json")).json(),
            (await browser.get("/pages/me")).status_code,
        )
        await browser.aclose()
        return found

    own, status = run(story())
    assert (own["first"], status) == (own_pages.UNREAD, 200)
    scene.close()


def test_words_of_strangers_are_text(scene: Scene) -> None:
    hostile = '"><script>alert(1)</script>\N{RIGHT-TO-LEFT OVERRIDE}'
    from archipel.records.membership import NodePaused

    scene.world.speak(BOSS, NodePaused, node=scene.node.did, reason=hostile)

    async def story() -> str:
        browser, _ = await opened(scene)
        page = (await browser.get("/pages/me")).text
        await browser.aclose()
        return page

    page = run(story())
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in page


def test_a_retired_machine_is_shown_as_such_and_nothing_more_can_be_clicked_of_it(
    scene: Scene,
) -> None:
    from archipel.records.membership import KeyRevoked

    scene.world.speak(BOSS, KeyRevoked, node=scene.node.did, reason="sold")

    async def story() -> tuple[dict[str, Any], str]:
        browser, _ = await opened(scene)
        found = (await browser.get("/pages/me.json")).json(), (await browser.get("/pages/me")).text
        await browser.aclose()
        return found

    own, page = run(story())
    machine = next(each for each in own["machines"] if each["node"] == scene.node.did)
    assert (machine["state"], machine["reason"], machine["acts"]) == ("retired", "sold", [])
    assert f'data-node="{scene.node.did}"' not in page
    assert f"operator pause {scene.node.did}" not in page
