"The built book, read in a real browser on a wide and on a narrow screen."

import os
import re
from functools import cache
from html import unescape
from pathlib import Path
from urllib.parse import quote, unquote, urldefrag, urlparse

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from book import origins
from book.build import ROOT, BookError, build, pages
from book.measure import (
    FIRST_READING,
    MEASURE,
    WIDE,
    chromium,
    loaded,
    megabytes,
    real,
    summary,
    total,
)
from book.measure import visit as read
from opembed_nb.lab.numbers import MARK, texts

pytestmark = pytest.mark.browser
WIDTHS = {"wide": WIDE, "narrow": 400}

# All that is asked of a page, in one visit; what is hidden by a theme has no size.
INSPECT = (
    MEASURE
    + """
  const all = selector => [...document.querySelectorAll(selector)];
  const width = document.documentElement.clientWidth;
  const scrolls = element => {
    for (let e = element; e && e !== document.body; e = e.parentElement)
      if (["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX)) return true;
    return false;
  };
  const wide = [...document.querySelectorAll("article *")]
    .filter(e => e.getBoundingClientRect().right > width + 1 && !scrolls(e))
    .map(e => `<${e.tagName.toLowerCase()}> ${e.textContent.trim().slice(0, 60)}`);
  const folded = all("article details:is(.fold, .answer)");
  folded.forEach(fold => { fold.open = true; });
  const cut = all("article .cell_input pre")
      .filter(e => e.scrollWidth > e.clientWidth + 1)
      .map(e => e.textContent.trim().slice(0, 60));
  folded.forEach(fold => { fold.open = false; });
  return {
    ...measured,
    title: document.querySelector("article h1")?.textContent ?? "",
    overflow: document.documentElement.scrollWidth > width
      ? ["the page scrolls sideways", ...wide] : wide,
    blank: all("article img")
      .filter(image => !image.naturalWidth)
      .map(image => image.alt || image.src.slice(-60)),
    cut,
    unset: all("article .math")
      .filter(e => e.textContent.includes("\\\\") || !e.closest("details:not([open])")
        && !e.querySelector("math")?.getBoundingClientRect().height)
      .map(e => e.textContent.slice(0, 60)),
    links: all("a[href]").map(link => link.href),
    ids: all("[id]").map(element => element.id),
  };
"""
)


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
    with chromium(tmp_path_factory.mktemp("browser")) as browser:
        if browser is None:
            message = (
                "chromium and chromedriver are needed to read the book; "
                "on Debian: apt-get install chromium-driver"
            )
            required = os.environ.get("OPEMBED_BROWSER") == "required"
            (pytest.fail if required else pytest.skip)(message)
        yield browser


@pytest.fixture(scope="module")
def visit(browser, html):
    "Opens a page of the book at a width, once, and returns what was found there."

    @cache
    def visit(page, width):
        loaded(browser)  # of the page before
        read(browser, (html / f"{page}.html").as_uri(), WIDTHS[width])
        found = browser.execute_script(INSPECT)
        log = browser.get_log("browser")
        found["errors"] = [entry["message"] for entry in log if entry["level"] == "SEVERE"]
        found["loaded"] = loaded(browser)
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


@pytest.mark.parametrize("page", pages(ROOT))
def test_every_table_fits_or_scrolls_in_its_box(page, visit):
    assert visit(page, "wide")["wide_tables"] == 0, "tables are cut"
    assert not visit(page, "narrow")["unboxed"], "tables without a box to scroll in"


@pytest.mark.parametrize("page", pages(ROOT))
def test_every_image_has_a_text_that_says_what_is_seen(page, visit):
    found = visit(page, "wide")
    for image in found["images"] + found["frames"]:
        assert real(image["alt"]), image


# As shown at 1280 pixels; results/book/first-reading.json has what was measured before and since.
MOST_SCREENS, MOST_CODE, MOST_MEGABYTES, WHOLE_BOOK = 110, 0.25, 0.8, 14


def test_the_first_reading_is_short_and_mostly_no_code(visit):
    found = total([summary(visit(page, "wide"), {}) for page in FIRST_READING])
    assert found["screens"] <= MOST_SCREENS
    assert found["code"] <= MOST_CODE


@pytest.mark.parametrize("page", FIRST_READING)
def test_a_chapter_shows_a_figure_within_two_screens(page, visit):
    assert visit(page, "wide")["first_figure"] <= 2


LEAST_LABEL = 11  # pixels as shown


def test_no_label_of_a_drawing_is_too_small_to_read(visit):
    for page in FIRST_READING:
        found = summary(visit(page, "wide"), {})["smallest label"]
        assert found is None or found >= LEAST_LABEL, page
        frames = visit(page, "narrow")["frames"]
        assert all((frame["label"] or LEAST_LABEL) >= LEAST_LABEL for frame in frames), page


STEPPED = "nbs/02_encoders"
SEEN = """return [...document.querySelectorAll("figure.stepper .frames > li")].map(frame => ({
  shown: getComputedStyle(frame).visibility === "visible" && frame.offsetHeight > 0,
  claim: frame.querySelector(".claim").textContent,
  claimed: frame.querySelector(".claim").offsetHeight > 0,
  top: frame.getBoundingClientRect().top,
}))"""


def test_a_picture_in_steps_is_walked_by_keys_buttons_and_slider(browser, html):
    read(browser, (html / f"{STEPPED}.html").as_uri())
    figure = browser.find_element(By.CSS_SELECTOR, "figure.stepper")
    back, on = figure.find_elements(By.CSS_SELECTOR, ".steps button")
    slider, said = (figure.find_element(By.CSS_SELECTOR, s) for s in (".steps input", ".said"))

    def at():
        frames = browser.execute_script(SEEN)
        [number] = [i for i, frame in enumerate(frames, 1) if frame["shown"]]
        assert said.get_attribute("textContent") == frames[number - 1]["claim"]
        assert said.get_attribute("aria-live") == "polite"
        assert slider.get_attribute("value") == str(number)
        assert figure.find_element(By.CLASS_NAME, "place").text == f"{number} of {len(frames)}"
        return number

    right, left, end = "\ue014", "\ue012", "\ue010"
    assert at() == 1 and not back.is_enabled()
    on.send_keys(right, right)
    assert at() == 3
    slider.send_keys(left)
    assert at() == 2
    on.click()
    assert at() == 3
    slider.send_keys(end)
    assert at() == len(browser.execute_script(SEEN)) and not on.is_enabled()


def test_without_scripts_all_steps_are_shown_in_order(browser, html):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get((html / f"{STEPPED}.html").as_uri())
        frames = browser.execute_script(SEEN)
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert len(frames) == 10 and all(frame["shown"] and frame["claimed"] for frame in frames)
    assert [frame["top"] for frame in frames] == sorted(frame["top"] for frame in frames)


def test_pages_and_book_are_light(visit, html):
    for page in set(pages(ROOT)) - {"nbs/explore"}:  # it shows what has a limit of its own
        weight = sum(visit(page, "wide")["loaded"].values()) / 1e6
        assert 0.1 < weight <= MOST_MEGABYTES, page
    assert megabytes(html) <= WHOLE_BOOK


def test_one_switch_opens_all_code_and_is_remembered(browser, html):
    opened = "return [...document.querySelectorAll('details.fold')].filter(f => f.open).length"
    for page, before in (("nbs/01_embeddings", 0), ("nbs/02_encoders", 1)):
        read(browser, (html / f"{page}.html").as_uri())
        folds = browser.find_elements(By.CSS_SELECTOR, "details.fold")
        assert len(folds) > 5
        assert browser.execute_script(opened) == before * len(folds)
        if not before:
            folds[0].find_element(By.TAG_NAME, "summary").send_keys("\ue007")  # the Enter key
            assert browser.execute_script(opened) == 1
            browser.find_element(By.CSS_SELECTOR, "button.code-switch").click()
            assert browser.execute_script(opened) == len(folds)
    browser.find_element(By.CSS_SELECTOR, "button.code-switch").click()
    assert browser.execute_script(opened) == 0
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert browser.execute_script(opened) == len(folds)
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(opened) == 0


SEARCHED = {
    "own search space": "11_own_space",
    "claim": "claims",
    "glossary": "glossary",
    "which embedding": "10_encoding",
}


def test_the_search_finds_what_readers_look_for(browser, html):
    results = "return [...document.querySelectorAll('#search-results li a')].map(a => a.href)"
    for words, page in SEARCHED.items():
        read(browser, f"{(html / 'search.html').as_uri()}?q={quote(words)}")
        links = WebDriverWait(browser, 10).until(lambda b: b.execute_script(results))
        assert page in [Path(urlparse(link).path).stem for link in links[:3]], words


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


def article(html, page):
    "What a page has to read, and its contents beside it, without the bars that all pages share."
    text = (html / f"{page}.html").read_text(encoding="utf-8")
    beside = re.search(r'<nav id="pst-page-toc-nav".*?</nav>', text, re.S)
    return re.search(r"<article.*</article>", text, re.S)[0] + (beside[0] if beside else "")


def test_every_number_leads_to_its_records(html):
    places = set(re.findall(r'\bid="([^"]*)"', article(html, origins.PAGE)))
    whole = 0
    for page in pages(ROOT):
        link = r'<(?:a class="number"|p class="origin"><a) href="[^"]*records.html#([^"]*)"'
        links = re.findall(link, article(html, page))
        files = (ROOT / f"{page}{end}" for end in (".md", ".ipynb"))
        prose = "\n".join(text for file in files if file.exists() for _, text in texts(file))
        marked = [match["mark"] for match in MARK.finditer(prose) if match["mark"]]
        assert len(links) == len(marked), f"{page}: not every number is a link"
        assert set(links) <= places, f"{page}: a number leads nowhere"
        whole += len(links)
    assert whole > 400


# What a reader wants to know → the page, and the section of it, that says so.
QUESTIONS = {
    "what is claimed": ("nbs/index", "the-paper-s-claims-and-what-we-found"),
    "did it hold": ("nbs/index", "the-paper-s-claims-and-what-we-found"),
    "by how much": ("nbs/found", "the-paper-s-numbers-and-ours"),
    "on which data": ("nbs/cards", "enas-digits"),
    "how to run it": ("nbs/package", "one-chapter-or-the-whole-paper"),
    "which embedding to use": ("nbs/10_encoding", "which-embedding-to-use"),
    "how to use an own space": ("nbs/11_own_space", ""),
    "how to add an encoder": ("nbs/contributing", "an-encoder"),
    "can I trust it": ("nbs/limits", ""),
    "where does a number come from": ("nbs/records", ""),
}


def clicks(html, page):
    "Where the links of a page lead, as page and section."
    for link in re.findall(r'href="([^":]*)"', article(html, page)):
        address, _, section = unescape(link).partition("#")
        target = (html / f"{page}.html").parent / address if address else html / f"{page}.html"
        yield str(target.resolve().relative_to(html.resolve()).with_suffix("")), section


def test_nine_questions_are_two_clicks_from_the_first_page(html):
    near = set(clicks(html, "nbs/index"))
    for page in {page for page, _ in near} & set(pages(ROOT)):
        near |= set(clicks(html, page))
    for question, (page, section) in QUESTIONS.items():
        assert (page, section) in near, question
        assert not section or f'id="{section}"' in article(html, page), question


def test_tables_of_outputs_are_tables(html):
    for page in (html / "nbs").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "<p>| " not in text, f"{page.name}: a table is shown as text"
