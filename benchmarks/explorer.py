"""How soon Explore is there, and how soon it answers, on a slowed processor.

    make explorer && taskset -c 0,1 python benchmarks/explorer.py
    python benchmarks/explorer.py --slower 4 --pages index nas-bench-201

Headless Chromium, from the disk; its processor is slowed by --slower. For each page, the median of
--repeats openings: milliseconds to the first paint and until both maps are drawn, and of a hundred
hovers over the map of all architectures, once both models have encoded them all (median, most).
The record goes to results/speed/explorer.json. Needs chromium and chromedriver.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from clearly import clearly
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from book.measure import chromium  # noqa: E402

OPENED = """
const paint = performance.getEntriesByName("first-contentful-paint")[0];
const drawn = performance.getEntriesByName("drawn")[0];
return paint && drawn ? [paint.startTime, drawn.startTime] : null;
"""
# What a move of the pointer costs: the search for the point, all that is shown of it, the layout.
HOVERS = """
const [map] = explorer.maps(), canvas = map.marks, box = canvas.getBoundingClientRect(), spent = [];
for (let i = 0; i < 100; i++) {
  const row = map.shown[Math.floor(i * map.shown.length / 100)];
  const [x, y] = map.at(map.x[row], map.y[row]);
  const begun = performance.now();
  canvas.dispatchEvent(new PointerEvent("pointermove", {clientX: box.x + x, clientY: box.y + y}));
  document.body.offsetHeight;
  spent.push(performance.now() - begun);
}
return [explorer.world().n, ...spent];
"""


def opened(browser, page, slower):
    "(first paint, maps drawn) in milliseconds, and the hovers' milliseconds with their n."
    browser.get("about:blank")
    browser.execute_cdp_cmd("Emulation.setCPUThrottlingRate", {"rate": slower})
    browser.get(page.as_uri())
    soon = WebDriverWait(browser, 60, 0.1).until(lambda b: b.execute_script(OPENED))
    browser.execute_cdp_cmd("Emulation.setCPUThrottlingRate", {"rate": 1})
    ready = "return document.documentElement.dataset.encoded === '2'"
    WebDriverWait(browser, 300, 0.5).until(lambda b: b.execute_script(ready))
    browser.execute_cdp_cmd("Emulation.setCPUThrottlingRate", {"rate": slower})
    n, *hovers = browser.execute_script(HOVERS)
    return *soon, n, hovers


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slower", type=float, default=2, help="how much slower the processor is")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pages", nargs="+", default=["index"])
    parser.add_argument("--folder", type=Path, default=ROOT / "_build" / "explore")
    args = parser.parse_args()
    from opembed_nb.hood.records import provenance

    begun, rows = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as folder, chromium(folder) as browser:
        if browser is None:
            sys.exit("explorer: chromium and chromedriver are needed")
        for page in args.pages:
            runs = [
                opened(browser, args.folder.resolve() / f"{page}.html", args.slower)
                for _ in range(args.repeats)
            ]
            paint, drawn, n, hovers = zip(*runs)
            every = sorted(hover for run in hovers for hover in run)
            row = dict(page=page, architectures=n[0], slower=args.slower)
            row |= dict(paint_ms=statistics.median(paint), drawn_ms=statistics.median(drawn))
            row |= dict(hover_ms=statistics.median(every), hover_most_ms=every[-1])
            rows.append({key: round(v, 1) if key[-2:] == "ms" else v for key, v in row.items()})
            print(rows[-1], flush=True)
    record = dict(repeats=args.repeats, rows=rows)
    record |= dict(seconds=round(time.perf_counter() - begun, 1), provenance=provenance())
    path = ROOT / "results" / "speed" / "explorer.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    clearly(main)
