"""The chat page in a real browser: it streams, keeps what was said, shows markup as text and asks nobody else."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from serve.served_process import address  # noqa: F401  a fixture

pytestmark = pytest.mark.slow
LIMIT_S = 60
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic",
)  # fmt: skip


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
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.1)


def turns(browser: Any) -> list[str]:
    return [each.text for each in browser.find_elements("class name", "turn")]


def asked(browser: Any) -> set[str]:
    """Every address that was asked for."""
    events = [json.loads(row["message"])["message"] for row in browser.get_log("performance")]
    return {
        each["params"]["request"]["url"]
        for each in events
        if each["method"] == "Network.requestWillBeSent"
    }


def test_a_conversation_streams_is_kept_and_stays_here(browser: Any, address: str) -> None:  # noqa: F811
    browser.get(f"{address}/")
    until(lambda: browser.find_element("id", "model").text.strip() == "tiny")
    said = "is <b>this</b> text?"
    browser.find_element("id", "text").send_keys(said)
    browser.find_element("id", "send").click()
    until(lambda: "tokens" in browser.find_element("id", "note").text)
    assert turns(browser)[0] == said
    browser.refresh()
    until(lambda: turns(browser)[:1] == [said])
    assert not browser.find_elements("css selector", ".turn b"), "markup stays text"
    browser.set_window_size(390, 800)
    menu = browser.find_element("id", "menu")
    until(menu.is_displayed)
    menu.click()
    until(browser.find_element("id", "new").is_displayed)
    browser.find_element("css selector", "#list li button:last-child").click()
    until(lambda: not turns(browser))
    asking = asked(browser)
    assert asking
    assert all(each.startswith(f"{address}/") for each in asking), asking
    assert browser.get_log("browser") == []


def test_an_answer_that_met_its_limit_says_so(browser: Any, address: str) -> None:  # noqa: F811
    browser.get(f"{address}/")
    until(lambda: browser.find_element("id", "model").text.strip() == "tiny")
    # The page asks as it does, but for one token, and the same one each time.
    browser.execute_script("""
        const own = window.fetch;
        window.fetch = (path, options) => own(path, path !== "/v1/chat/completions" ? options
            : { ...options, body: JSON.stringify({ ...JSON.parse(options.body), max_tokens: 1, seed: 1 }) });
    """)
    browser.find_element("id", "text").send_keys("hi")
    browser.find_element("id", "send").click()
    until(lambda: "tokens" in browser.find_element("id", "note").text)
    assert "met its limit" in browser.find_element("id", "note").text


def test_an_answer_is_stopped(browser: Any, address: str) -> None:  # noqa: F811
    browser.get(f"{address}/")
    until(lambda: browser.find_element("id", "model").text.strip() == "tiny")
    browser.find_element("id", "text").send_keys("hi")
    browser.find_element("id", "send").click()
    browser.execute_script("document.getElementById('stop').click()")
    until(lambda: browser.find_element("id", "send").is_displayed())
    assert turns(browser)[0] == "hi"
