"The built book, read in a real browser on a wide and on a narrow screen."

import os
import re
import shutil
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from book.build import ROOT, BookError, build, pages

pytestmark = pytest.mark.browser
WIDTHS = {"wide": 1280, "narrow": 400}
# The numbered chapters: the preface leaves out the lab and what is under the hood.
FIRST_READING = [page for page in pages(ROOT) if re.match(r"nbs/\d\d_", page)]
FLAGS = [
    "headless",
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "no-first-run",
    "disable-sync",
    "disable-background-networking",
    "disable-component-update",
    "disable-dev-shm-usage",
]

# All that is asked of a page, in one visit. Equations are set after loading, and lazy images are
# loaded when they come into view.
INSPECT = """
const done = arguments[arguments.length - 1];
const images = [...document.querySelectorAll("article img")];
images.forEach(image => image.loading = "eager");
const ready = images.map(image => image.decode().catch(() => null));
ready.push(window.MathJax?.startup?.promise);
Promise.all(ready).then(() => {
  const width = document.documentElement.clientWidth;
  const scrolls = element => {
    for (let e = element; e && e !== document.body; e = e.parentElement)
      if (["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX)) return true;
    return false;
  };
  const wide = [...document.querySelectorAll("article *")]
    .filter(e => e.getBoundingClientRect().right > width + 1 && !scrolls(e))
    .map(e => `<${e.tagName.toLowerCase()}> ${e.textContent.trim().slice(0, 60)}`);
  done({
    title: document.querySelector("article h1")?.textContent ?? "",
    overflow: document.documentElement.scrollWidth > width
      ? ["the page scrolls sideways", ...wide] : wide,
    blank: images
      .filter(image => !image.naturalWidth)
      .map(image => image.alt || image.src.slice(-60)),
    cut: [...document.querySelectorAll("article .cell_input pre")]
      .filter(e => e.scrollWidth > e.clientWidth + 1)
      .map(e => e.textContent.trim().slice(0, 60)),
    unset: [...document.querySelectorAll("article .math")]
      .filter(e => !e.querySelector("mjx-container")
        || e.querySelector("[data-mjx-error], mjx-merror"))
      .map(e => e.textContent.slice(0, 60)),
    links: [...document.querySelectorAll("a[href]")].map(link => link.href),
    ids: [...document.querySelectorAll("[id]")].map(element => element.id),
  });
});
"""


ARRIVED = """
return !window.old && location.href === arguments[0] && document.readyState === "complete";
"""


@pytest.fixture(scope="module")
def html():
    "The folder of the book that `make book` built; built here if there is none or it is old."
    first = ROOT / "_build" / "html" / "index.html"
    sources = [
        ROOT / "_config.yml",
        ROOT / "_toc.yml",
        *(ROOT / "nbs").rglob("*.*"),
        *(ROOT / "book").rglob("*.*"),
    ]
    if not first.exists() or max(path.stat().st_mtime for path in sources) > first.stat().st_mtime:
        try:
            build()
        except BookError as error:
            pytest.fail(str(error), pytrace=False)
    return first.parent


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        message = (
            "chromium and chromedriver are needed to read the book; "
            "on Debian: apt-get install chromium-driver"
        )
        (pytest.fail if os.environ.get("OPEMBED_BROWSER") == "required" else pytest.skip)(message)
    options = Options()
    options.binary_location = chromium
    for flag in (*FLAGS, f"user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, Service(driver))
    browser.set_script_timeout(60)
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def visit(browser, html):
    "Opens a page of the book at a width, once, and returns what was found there."

    @cache
    def visit(page, width):
        size = {"width": WIDTHS[width], "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        address = (html / f"{page}.html").as_uri()
        browser.execute_script("window.old = true")
        browser.get(address)  # may come back before the page has taken the old one's place
        WebDriverWait(browser, 30).until(lambda b: b.execute_script(ARRIVED, address))
        found = browser.execute_async_script(INSPECT)
        log = browser.get_log("browser")
        found["errors"] = [entry["message"] for entry in log if entry["level"] == "SEVERE"]
        return found

    return visit


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", pages(ROOT))
def test_page_is_whole(page, width, visit):
    found = visit(page, width)
    assert found["title"].strip(), "no title"
    assert not found["errors"], "the browser's console reports errors"
    assert not found["overflow"], f"wider than {WIDTHS[width]} pixels"
    assert not found["blank"], "figures that did not load"
    assert not found["unset"], "equations that were not set"


@pytest.mark.parametrize("page", FIRST_READING)
def test_no_code_of_the_first_reading_is_wider_than_the_page(page, visit):
    assert not visit(page, "wide")["cut"], "these code blocks scroll sideways"


def test_links_between_pages_arrive(visit, html):
    seen = {(html / f"{page}.html").resolve(): visit(page, "wide") for page in pages(ROOT)}
    for page, found in seen.items():
        for link in found["links"]:
            address, fragment = urldefrag(link)
            if urlparse(address).scheme != "file":
                continue
            target = Path(unquote(urlparse(address).path)).resolve()
            assert target.exists(), f"{page.name}: {link} leads nowhere"
            if fragment and target in seen:
                known = seen[target]["ids"]
                assert unquote(fragment) in known, f"{page.name}: {link} has no such place"


def test_tables_of_outputs_are_tables(html):
    for page in (html / "nbs").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "<p>| " not in text, f"{page.name}: a table is shown as text"
