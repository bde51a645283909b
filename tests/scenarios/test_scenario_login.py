"""A person joins as a provider, sees the first earnings in a real browser, and stands a machine still from there.

The lab, the node, the terminal and the browser are real processes.
"""

import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from archipel.bench.site import Site
from archipel.identity import Identity
from archipel.records.membership import KeyRevoked, NodePaused, NodeResumed
from archipel.records.statements import LeaseGranted
from keyring import delegation
from stage import Stage

pytestmark = pytest.mark.slow
LAB = str(Path(__file__).parents[1] / "dashboard" / "lab_with_login.py")
PROGRAM = (sys.executable, "-u", "-m", "archipel.cli.archipel")
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic", "--window-size=1200,900",
)  # fmt: skip
LIMIT_S = 60.0
MakeStage = Callable[..., Stage]


@pytest.fixture
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no chromium with its chromedriver here")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for each in OPTIONS:
        options.add_argument(each)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


class Typed:
    """`archipel operator login` in a process, its output line by line."""

    def __init__(self, url: str, key: Path) -> None:
        self._process = subprocess.Popen(
            [*PROGRAM, "operator", "login", "--lab", url, "--key", str(key), "--no-browser"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.text = ""

    def until(self, word: str) -> str:
        """What it said so far, once this word is in it."""
        assert self._process.stdout is not None
        end = time.monotonic() + LIMIT_S
        while word not in self.text:
            assert time.monotonic() < end, self.text
            if select.select([self._process.stdout], [], [], 0.2)[0]:
                data = self._process.stdout.read1()
                assert data, self.text
                self.text += data.decode()
        return self.text

    def types(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def ctrl_c(self) -> int:
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(20)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def until(holds: Callable[[], Any], what: str, limit_s: float = LIMIT_S) -> None:
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def row(browser: Any) -> str:
    """The state of the only machine, or nothing while the page changes."""
    from selenium.common.exceptions import WebDriverException

    try:
        return str(browser.find_element("css selector", "#me-machines tbody td").text)
    except WebDriverException:
        return ""


def click(browser: Any, act: str) -> None:
    from selenium.common.exceptions import StaleElementReferenceException

    def clicked() -> bool:
        found = browser.find_elements("css selector", f"[data-act={act}]")
        try:
            if found:
                found[0].click()
        except StaleElementReferenceException:
            return False
        return bool(found)

    until(clicked, f"no button to {act}")


def test_earnings_are_seen_within_a_minute_and_clicks_are_signed_at_the_terminal(
    make_stage: MakeStage, tmp_path: Path, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_usual = Site._start

    def start(site: Site, name: str, words: Any, program: Any = None) -> None:
        as_usual(
            site,
            name,
            words,
            (LAB,) if name == "lab" else program or ("-m", "archipel.cli.archipel"),
        )

    monkeypatch.setattr(Site, "_start", start)
    stage = make_stage(versions=2000, staleness=1)
    stage.open()
    site, key = stage.site, tmp_path / "operator.key"
    boss = Identity.load_or_create(key)
    did = site.did("machine")
    (site.home("machine") / "delegation.json").write_text(delegation(boss, did).model_dump_json())
    began_s = time.monotonic()
    site.start_node("machine", ("--latency", "0.2"))
    stage.wait(lambda: site.get(f"/nodes/{did}") is not None, "the node")
    terminal = Typed(site.url, key)
    try:
        said = terminal.until("Ctrl-C")
        link = next(word for word in said.split() if "/pages/login#" in word)
        browser.get(link)
        until(lambda: browser.current_url.endswith("/pages/me"), "not logged in")
        until(lambda: "s after joining" in browser.find_element("id", "me-first").text, "no earnings shown")  # fmt: skip
        assert time.monotonic() - began_s < 60, "from the command to the figure"
        first = browser.find_element("id", "me-first").text
        assert int(first.split()[0]) < 60

        click(browser, "pause")
        terminal.until("is paused, entry")
        until(lambda: row(browser).startswith("paused"), "the page does not say paused")
        until(lambda: not site.get(f"/nodes/{did}")["leases"], "what it holds is not answered")
        groups = site.get(f"/nodes/{did}")["groups"]
        time.sleep(3)
        assert site.get(f"/nodes/{did}")["groups"] == groups
        (tmp_path / "page.png").write_bytes(browser.get_screenshot_as_png())
        click(browser, "resume")
        terminal.until("may work again, entry")
        stage.wait(lambda: site.get(f"/nodes/{did}")["groups"] > groups, "it does not work again")

        click(browser, "retire")
        terminal.until("[y/N]")
        assert site.get(f"/nodes/{did}")["present"]
        terminal.types("n")
        terminal.until("was not retired")
        click(browser, "retire")
        terminal.until("was not retired: no was said at the terminal\nclicked")
        terminal.types("y")
        terminal.until("is retired, entry")
        until(lambda: row(browser).startswith("retired"), "the page does not say retired")
        assert not site.get(f"/nodes/{did}")["present"]
        told = [each for each in browser.get_log("browser") if each["level"] == "SEVERE"]
        severe = [each for each in told if "favicon.ico" not in each["message"]]
        assert severe == []

        assert terminal.ctrl_c() == 0
        until(lambda: browser.current_url.endswith("/pages/login"), "still logged in")
    finally:
        terminal.close()
    history = [said for _, said in site.history()]
    paused, resumed = (
        next(n for n, each in enumerate(history) if isinstance(each, kind))
        for kind in (NodePaused, NodeResumed)
    )
    between = history[paused:resumed]
    assert not [each for each in between if isinstance(each, LeaseGranted) and each.node == did]
    assert [each.node for each in history if isinstance(each, KeyRevoked)] == [did]
