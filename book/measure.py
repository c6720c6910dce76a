"""Measure the built book as a reader sees it: length, shares of code and text, weight, labels.

On the command line, after `make book` (needs chromium and chromedriver):

    python book/measure.py                       a table of the chapters of the first reading
    python book/measure.py --save now            the same, kept in results/book/first-reading.json

Screens are of the article, without the bars around it.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlparse

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from book.build import pages  # noqa: E402

SCREEN = 900  # pixels of height
WIDE = 1280  # pixels of width
FIRST_READING = [page for page in pages(ROOT) if re.match(r"nbs/(0\d|1[01])_", page)]
EARLIER = [page for page in pages(ROOT) if re.match(r"nbs/(0\d|12)_", page)]  # of older records
RECORD = ROOT / "results" / "book" / "first-reading.json"
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

# What a page's height is made of, largest boxes first; a figure counts with its caption. `labels`
# are the sizes of letters in SVG pictures as shown; those in pixels cannot be read.
MEASURE = """
const KINDS = [
  ["code", ".cell_input, details.fold, div.highlight"],
  ["figures", "figure, img, svg, .plot"],
  ["tables", "table, .pst-scrollable-table-container"],
  ["math", "div.math, math[display=block]"],
  ["prose", "p, ul, ol, dl, blockquote, h1, h2, h3, h4, .admonition, details"],
];
const page = document.querySelector("article");
const top0 = page.getBoundingClientRect().top;
const found = {code: 0, figures: 0, tables: 0, math: 0, prose: 0, output: 0};
const walk = (element, inOutput) => {
  for (const child of element.children) {
    const box = child.getBoundingClientRect();
    if (!box.height) continue;
    inOutput ||= element.matches(".cell_output");
    const kind = KINDS.find(([, selector]) => child.matches(selector))?.[0];
    if (inOutput && (child.matches(".stream, .text_plain, .highlight, pre")))
      found.output += box.height;
    else if (kind) found[kind] += box.height;
    else walk(child, inOutput);
  }
};
walk(page, false);
const shown = selector => [...page.querySelectorAll(selector)]
  .filter(element => element.getBoundingClientRect().height > 0);
const boxed = element => {
  for (let e = element; e && e !== page; e = e.parentElement)
    if (["auto", "scroll"].includes(getComputedStyle(e).overflowX)) return e;
};
const pictures = shown("img, figure.stepper, .plot");
const letters = svg => [svg, ...svg.querySelectorAll("use")].flatMap(part => [
  ...(document.querySelector(part.getAttribute("href") || "#none") ?? part)
    .querySelectorAll("text")]);
const smallest = svg => Math.min(...letters(svg)
  .map(text => parseFloat(getComputedStyle(text).fontSize)))
  * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
const measured = {
  height: page.getBoundingClientRect().height,
  ...found,
  first_figure: pictures.length
    ? (pictures[0].getBoundingClientRect().bottom - top0) / SCREEN : null,
  frames: shown("figure.stepper svg[role=img], .plot").map(picture => ({
    alt: picture.getAttribute("aria-label"),
    label: Math.min(...(picture.matches("svg") ? [picture] : [...picture.querySelectorAll("svg")])
      .filter(svg => svg.getBoundingClientRect().width > 1).map(smallest)),
  })),
  wide_tables: shown("table").filter(table => table.getBoundingClientRect().width
    > (boxed(table) ?? page).clientWidth + 1).length,
  unboxed: shown("table").filter(table => !boxed(table)).map(table => table.textContent.trim()
    .slice(0, 60)),
  tables_shown: shown("table").length,
  images: [...page.querySelectorAll("img")].map(image => ({
    alt: image.alt, source: image.src, width: image.getBoundingClientRect().width,
    natural: image.naturalWidth,
  })),
};
""".replace("SCREEN", str(SCREEN))


@contextmanager
def chromium(folder):
    "A browser without a window that keeps what it needs in `folder`; None if there is none."
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if not (program and driver):
        yield None
        return
    options = Options()
    options.binary_location = program
    for flag in (*FLAGS, f"user-data-dir={folder}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, Service(driver))
    browser.set_script_timeout(60)
    try:
        yield browser
    finally:
        browser.quit()


ARRIVED = """
return !window.old && location.href === arguments[0] && document.readyState === "complete";
"""
# Lazy images are loaded when they come into view.
LOADED = """
const done = arguments[arguments.length - 1];
const images = [...document.querySelectorAll("article img")];
images.forEach(image => image.loading = "eager");
Promise.all(images.map(image => image.decode().catch(() => null))).then(() => done(true));
"""


def visit(browser, address, width=WIDE):
    "Open a page at a width, and wait until all of it is there."
    size = {"width": width, "height": SCREEN, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_script("window.old = true")
    browser.get(address)  # may come back before the page has taken the old one's place
    WebDriverWait(browser, 30).until(lambda b: b.execute_script(ARRIVED, address))
    browser.execute_async_script(LOADED)


def loaded(browser):
    "The bytes of each file that the browser has read since it was last asked."
    found = {}
    for entry in browser.get_log("performance"):
        event = json.loads(entry["message"])["message"]
        if event["method"] == "Network.responseReceived":
            address = event["params"]["response"]["url"]
            if address.startswith("file:"):
                found[address] = local(address).stat().st_size
    return found


def local(address):
    "The file that an address of the built book stands for."
    return Path(unquote(urlparse(address).path))


def real(alt):
    "Whether an image's text says something: more than a name of a file."
    return len(alt.split()) > 2 and not re.search(r"\.(png|svg|jpe?g)$", alt)


def summary(found, weights):
    "What is kept of a page: screens, shares of its height, and what is wrong with it."
    height = found["height"]
    parts = ("code", "prose", "tables", "figures", "math", "output")
    small = [round(frame["label"], 1) for frame in found["frames"] if frame["label"]]
    pictures = [*found["images"], *found["frames"]]
    return {
        "screens": round(height / SCREEN, 1),
        **{part: round(found[part] / height, 3) for part in parts},
        "first figure after screens": found["first_figure"] and round(found["first_figure"], 1),
        "tables shown": found["tables_shown"],
        "tables wider than the page": found["wide_tables"],
        "images": len(pictures),
        "images without a text": sum(not real(picture["alt"]) for picture in pictures),
        "smallest label": min(small, default=None),
        "megabytes": round(sum(weights.values()) / 1e6, 2),
    }


def total(rows):
    "The same of all pages together: sums, shares by height, and the worst."
    screens = sum(row["screens"] for row in rows)
    shares = ("code", "prose", "tables", "figures", "math", "output")
    worst = ("first figure after screens", "megabytes")
    sums = ("tables wider than the page", "images", "images without a text")
    return {
        "screens": round(screens, 1),
        **{s: round(sum(row[s] * row["screens"] for row in rows) / screens, 3) for s in shares},
        **{w: max(row[w] or 0 for row in rows) for w in worst},
        **{s: sum(row[s] for row in rows) for s in sums},
    }


def megabytes(html):
    "What the book holds. Explore is beside it: each page of it has a limit of its own."
    files = (file for file in html.rglob("*") if file.is_file())
    return sum(f.stat().st_size for f in files if html / "explore" not in f.parents) / 1e6


def measure(html):
    "Page → what was measured of it; `all` is the first reading, `earlier` what it once was."
    with tempfile.TemporaryDirectory() as folder, chromium(folder) as browser:
        if browser is None:
            raise SystemExit("measure: needs chromium and chromedriver")
        found = {}
        for page in sorted({*FIRST_READING, *EARLIER}):
            browser.get("about:blank")  # so that what all pages share is counted for each
            browser.execute_cdp_cmd("Network.clearBrowserCache", {})
            loaded(browser)
            visit(browser, (html / f"{page}.html").as_uri())
            row = browser.execute_script(MEASURE + "return measured")
            found[page] = summary(row, loaded(browser))
    rows = dict(found)
    found["all"] = total([rows[page] for page in FIRST_READING])
    found["earlier"] = total([rows[page] for page in EARLIER])
    found["book"] = {"megabytes": round(megabytes(html), 1)}
    return found


def main():
    "The command line."
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--html", type=Path, default=ROOT / "_build" / "html")
    parser.add_argument("--save", metavar="NAME", help="keep it under this name in results/book")
    arguments = parser.parse_args()
    found = measure(arguments.html.resolve())
    for page, row in found.items():
        print(page, json.dumps(row, ensure_ascii=False))
    if arguments.save:
        kept = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
        commit = subprocess.run(
            ["git", "rev-parse", "--short=10", "HEAD"], cwd=ROOT, capture_output=True, text=True
        ).stdout.strip()
        kept[arguments.save] = {"commit": commit, "width": WIDE, "screen": SCREEN, "pages": found}
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
