"""Make the animated figure of the page, and a still one for those who want no motion.

    python explorer/build.py && python explorer/figure.py     → explorer/figure.webp, figure.png

Needs chromium and chromedriver.
"""

import base64
import io
import shutil
import time
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "_build" / "explore" / "index.html"
SHOWN = [
    "#view=map&colour=first&epoch=0",
    "#view=map&colour=first",
    "#view=map&colour=accuracy",
    "#view=walk&colour=accuracy",
]
# Only the slider, the maps and their legend.
STYLE = """
.controls > :not(.training), .zooms, #play, #map-keys, #under { display: none !important }
.stage { height: 21rem }
"""
BOX = """
const top = document.querySelector(".training").getBoundingClientRect().top;
const end = document.getElementById("legend").getBoundingClientRect().bottom;
return {x: 0, y: top + scrollY - 10, width: innerWidth, height: end - top + 24};
"""


def frames(browser):
    "A screenshot of each view, twice as large as it is shown."
    size = {"width": 700, "height": 900, "deviceScaleFactor": 2, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(PAGE.as_uri() + SHOWN[0])
    encoded = "return document.documentElement.dataset.encoded === '2'"
    WebDriverWait(browser, 120).until(lambda b: b.execute_script(encoded))
    add = "document.head.append(Object.assign(document.createElement('style'), {textContent: "
    browser.execute_script(f"{add}arguments[0]}}))", STYLE)
    clip = None
    for state in SHOWN:
        browser.execute_script("location.hash = arguments[0]", state)
        time.sleep(4)
        browser.execute_script("document.body.dataset.view = 'map'")  # the maps keep their size
        time.sleep(1)
        clip = clip or {**browser.execute_script(BOX), "scale": 1}  # all frames have one size
        taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip})
        yield Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("RGB")


def main():
    options = webdriver.ChromeOptions()
    flags = "headless no-sandbox disable-gpu hide-scrollbars force-prefers-reduced-motion"
    for flag in flags.split():
        options.add_argument(f"--{flag}")
    options.binary_location = shutil.which("chromium")
    browser = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        first, *others = frames(browser)
    finally:
        browser.quit()
    moving = dict(save_all=True, append_images=others, duration=2500, loop=0, quality=32, method=6)
    first.save(HERE / "figure.webp", **moving)
    others[0].quantize(48, dither=Image.Dither.NONE).save(HERE / "figure.png", optimize=True)


if __name__ == "__main__":
    main()
