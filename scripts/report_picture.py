"""A screenshot of a report's page: over time, the slowest, and one of them; see scripts/report_picture."""

from __future__ import annotations

import base64
import subprocess
import sys
import tempfile
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
WIDTH, HEIGHT = 1200, 5000
MOST_BYTES = 200_000
DRAWN = "return [...document.querySelectorAll('#s1 .plot, #s1 .waterfall')].every((p) => p.querySelector('path'))"
SHORTER = """
const figure = document.querySelector('#s1 [data-figure=distribution]').closest('figure');
figure.previousElementSibling.remove();
figure.remove();
document.documentElement.style.overflow = 'hidden';
"""
"""Distributions do not fit a README."""
PLACE = """
const top = document.querySelector('#s1 .plot').closest('figure').previousElementSibling.getBoundingClientRect().top;
return [top + scrollY - 8, document.querySelector('#s1 .pair').getBoundingClientRect().bottom + scrollY]
"""


def screenshot(page: Path, folder: Path, drawn: str, shorter: str, place: str, dark: bool = False) -> bytes:
    """A PNG of the part of a page that the script `place` gives the top and the bottom of, once `drawn` holds."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for one in (*OPTIONS, f"--user-data-dir={folder}/profile"):
        options.add_argument(one)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    try:
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        colours = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [colours]})
        driver.get(page.as_uri())
        WebDriverWait(driver, 60, 0.1).until(lambda d: d.execute_script(drawn))
        driver.execute_script(shorter)
        top, bottom = driver.execute_script(place)
        clip = {"x": 0, "y": top, "width": WIDTH, "height": bottom - top, "scale": 0.8}
        shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "clip": clip})
    finally:
        driver.quit()
    return base64.b64decode(shot["data"])


def keep(data: bytes, picture: Path) -> int:
    """Writes the picture; 1 if it is too large for a README."""
    picture.parent.mkdir(exist_ok=True)
    picture.write_bytes(data)
    print(f"{picture}: {len(data):,} bytes")
    return int(len(data) > MOST_BYTES)


def main(recording: str, picture: Path) -> int:
    """The picture of a recording's report."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        words = [sys.executable, "-m", "colotrace", "report", "--format", "html", "--output", str(page), recording]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        return keep(screenshot(page, Path(folder), DRAWN, SHORTER, PLACE), picture)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
