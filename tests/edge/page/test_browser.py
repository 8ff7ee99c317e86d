"""The live page in a real browser: Debian's chromium and chromium-driver, which `.ci/run` installs."""

from __future__ import annotations

import re
import shutil

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="the live page is not tested: no selenium (extra dev)")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="the live page is not tested: apt-get install chromium chromium-driver"
)


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def text(browser, name):
    return browser.find_element("id", name).text


def until(browser, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 60, poll_frequency=0.1).until(condition)


def choose(browser, name, value):
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("id", name)).select_by_value(value)


def click_at(browser, name, share):
    """Click on a slider, at a share of its width."""
    slider = browser.find_element("id", name)
    x = int((share - 0.5) * (slider.size["width"] - 2))
    webdriver.ActionChains(browser).move_to_element_with_offset(slider, x, 0).click().perform()


@pytest.mark.parametrize("width", [1280, 400])
def test_a_click_changes_w_and_the_cut_follows(browser, edge_url, width):
    browser.set_window_size(width, 900)
    browser.get(edge_url)
    until(browser, lambda b: text(b, "cut") == "13")
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    click_at(browser, "w", 1.0)
    until(browser, lambda b: text(b, "cut") not in ("13", ""))
    assert text(browser, "w-value") == "1"
    click_at(browser, "w", 0.0)
    until(browser, lambda b: text(b, "cut") == "13")
    choose(browser, "pinned", "5")
    until(browser, lambda b: text(b, "cut") == "5")
    choose(browser, "pinned", "")
    choose(browser, "planner", "knee")
    until(browser, lambda b: not b.find_element("id", "w").is_enabled())
    choose(browser, "planner", "algorithm1")
    until(browser, lambda b: text(b, "w-value") == "0.5")
    click_at(browser, "w", 0.0)
    until(browser, lambda b: text(b, "cut") == "13")
    drawn = browser.execute_script("return [...document.querySelectorAll('canvas')].map(c => c.width * c.height)")
    assert len(drawn) == 3
    assert all(drawn)
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []  # a policy violated, too


def test_a_row_of_three_tiers_shows_all_five_parts(browser, three_tiers_url):
    browser.set_window_size(1280, 900)
    browser.get(three_tiers_url)
    until(browser, lambda b: b.find_element("css selector", ".key .relay").is_displayed())
    webdriver.ActionChains(browser).move_to_element(browser.find_element("id", "forecast-chart")).perform()
    detail = until(browser, lambda b: text(b, "forecast-detail"))
    parts = r" \+ ".join(rf"{part} \S+ ms" for part in ("edge", "link", "relay", "second link", "cloud"))
    assert re.match(rf"cuts \d+, \d+: \S+ ms = {parts}; ", detail), detail
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []


def test_behind_a_token_the_page_asks_for_it(browser, guarded_url):
    browser.get(guarded_url)
    field = until(browser, lambda b: b.find_element("id", "token"))
    until(browser, lambda _: field.is_displayed())
    assert not browser.find_element("id", "page").is_displayed()
    field.send_keys("reader\n")
    until(browser, lambda b: text(b, "connection") == "live")
    choose(browser, "pinned", "5")
    until(browser, lambda _: field.is_displayed())
    assert "administration" in text(browser, "token-form")
    field.send_keys("keeper\n")
    until(browser, lambda b: text(b, "connection") == "live")
    choose(browser, "pinned", "5")
    until(browser, lambda b: text(b, "cut") == "5")
