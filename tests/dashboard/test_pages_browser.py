"""The pages in a real browser: nothing from elsewhere, no complaint, no barrier, and what is new appears by itself."""

import asyncio
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette

from archipel.dashboard.http.routes import Site, page_routes
from archipel.lab.look_source import LabSource
from dashboard.pages_world import PagesWorld, pages_world
from people import identity

pytestmark = pytest.mark.slow
LIMIT_S = 60
AXE = Path(".venv/axe/node_modules/axe-core/axe.min.js")
"""`make test-pages` puts it there."""
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic",
)  # fmt: skip
NORTH = identity("north").did
PAGES = (
    "", "runs", "runs/run", "runs/harbour", "nodes", f"nodes/{NORTH}", "operators", f"operators/{NORTH}", "market/harbour",
    "audits", "models", "models/ferry-1", "ledger", "ledger/3", "nothing-here",
)  # fmt: skip
PHONE, DESK = 360, 1280


class Polled(LabSource):
    """The story moves the lab in another thread than the one that serves."""

    async def grown(self, size: int, limit_s: float) -> int:
        end = time.monotonic() + limit_s
        while (now := self.look().size) <= size and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        return now


class Served:
    """A site on a port of this machine, which can go away and come back there."""

    def __init__(self, world: PagesWorld) -> None:
        self.world = world
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        site = Site(Polled(self.world.world.lab), self.world.site.series, self.world.site.releases)
        app = Starlette(routes=page_routes(site))
        config = uvicorn.Config(
            app, host="127.0.0.1", port=self.port, log_level="critical", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        until(lambda: self._server.started)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    world = pages_world(tmp_path_factory.mktemp("pages"), versions=30, steps=10)
    found = Served(world)
    yield found
    found.stop()
    world.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip(
            "no chromium with its chromedriver here: `make test-pages` installs them from Debian"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for each in OPTIONS:
        options.add_argument(each)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    found.set_script_timeout(LIMIT_S)
    yield found
    found.quit()


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.1)


def seen_as(browser: Any, width: int, scheme: str) -> None:
    sizes = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sizes)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def asked(browser: Any) -> set[str]:
    """Every address that was asked for since the last look."""
    events = [json.loads(row["message"])["message"] for row in browser.get_log("performance")]
    return {
        each["params"]["request"]["url"]
        for each in events
        if each["method"] == "Network.requestWillBeSent"
    }


def complaints(browser: Any) -> list[str]:
    """Of the console; that an address is not there is what the test asked for."""
    return [row["message"] for row in browser.get_log("browser") if "404" not in row["message"]]


@pytest.mark.parametrize(("width", "scheme"), [(DESK, "light"), (PHONE, "dark")])
def test_every_page_fits_has_no_barrier_and_asks_nobody_else(
    browser: Any, served: Served, width: int, scheme: str
) -> None:
    if not AXE.exists():
        pytest.skip("no axe-core here: `make test-pages` fetches it")
    seen_as(browser, width, scheme)
    asked(browser), complaints(browser)
    for way in PAGES:
        browser.get(f"{served.url}/pages/{way}")
        until(lambda: browser.execute_script("return document.readyState") == "complete")
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width, (way, wide)
        plots = browser.find_elements("css selector", "figure.chart")
        assert len(browser.find_elements("css selector", ".plot canvas")) == len(plots)
        if plots:
            browser.execute_script("document.querySelector('details').open = true")
        browser.execute_script(AXE.read_text())
        found = browser.execute_async_script(
            "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then((told) => "
            "done(told.violations.map((each) => [each.id, each.impact, each.nodes.slice(0, 3).map((node) => node.html)])))"
        )
        assert [each for each in found if each[1] in ("serious", "critical")] == [], way
        assert complaints(browser) == [], way
    addresses = asked(browser)
    assert addresses
    assert {each for each in addresses if not each.startswith((f"{served.url}/", "data:"))} == set()


def test_what_is_new_appears_without_loading_the_page_again(browser: Any, served: Served) -> None:
    seen_as(browser, DESK, "light")
    browser.get(f"{served.url}/pages/runs/run")
    until(lambda: "is-live" in browser.find_element("tag name", "html").get_attribute("class"))
    browser.execute_script("window.here = 1; document.querySelector('#t-reward').open = true")

    def version() -> int:
        return int(browser.find_element("css selector", ".figure .value").text.split("/")[0])

    def points() -> int:
        return int(
            browser.execute_script(
                "return JSON.parse(document.getElementById('d-reward').textContent).xs.length"
            )
        )

    before, drawn = version(), points()
    for _ in range(3):
        served.world.step()
    served.world.tell()
    until(lambda: version() > before and points() > drawn)
    assert browser.execute_script("return window.here") == 1
    assert browser.execute_script("return document.querySelector('#t-reward').open"), (
        "what was open stays open"
    )
    assert "follows the ledger" in browser.find_element("id", "live").get_attribute("textContent")


def test_after_a_break_the_page_is_right_again(browser: Any, served: Served) -> None:
    seen_as(browser, DESK, "light")
    browser.get(f"{served.url}/pages/ledger")
    until(lambda: "is-live" in browser.find_element("tag name", "html").get_attribute("class"))
    browser.execute_script("window.here = 1")
    served.stop()
    until(lambda: "is-away" in browser.find_element("tag name", "html").get_attribute("class"))
    served.world.step()
    served.world.tell()
    served.start()
    size = served.world.world.state.size
    until(lambda: f"{size:,}" in browser.find_element("id", "page-head").text)
    assert browser.execute_script("return window.here") == 1
    complaints(browser)


def test_everything_is_reached_by_keyboard(browser: Any, served: Served) -> None:
    from selenium.webdriver.common.keys import Keys

    seen_as(browser, DESK, "light")
    browser.get(f"{served.url}/pages/runs")

    def pressed(key: str) -> Any:
        browser.switch_to.active_element.send_keys(key)
        return browser.switch_to.active_element

    assert pressed(Keys.TAB).get_attribute("class") == "skip"
    assert pressed(Keys.ENTER).get_attribute("id") == "main"
    reached = []
    for _ in range(12):
        found = pressed(Keys.TAB)
        assert (
            browser.execute_script("return getComputedStyle(arguments[0]).outlineStyle", found)
            != "none"
        )
        reached.append(found.text)
        if found.text == "run":
            break
    assert reached[-1] == "run", reached
    pressed(Keys.ENTER)
    until(lambda: browser.current_url.endswith("/pages/runs/run"))


def test_without_a_script_the_numbers_are_there(browser: Any, served: Served) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(f"{served.url}/pages/runs/run")
        assert browser.find_element("css selector", ".figure .value").text
        assert (
            len(browser.find_elements("css selector", "figure.chart details table tbody tr")) > 20
        )
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
