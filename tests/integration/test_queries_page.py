"""The page of ``queries report`` in a real browser: it renders, asks for nothing, and fits narrow windows."""

import json
import re
import shutil
import subprocess
from html import unescape
from importlib.resources import files

import pytest
from helpers import run_module, write_jsonl

pytestmark = pytest.mark.integration

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

PROBE = """<script>
addEventListener("load", () => {
  const of = (selector) => [...document.querySelectorAll(selector)];
  const seen = (node) => { const box = node.getBoundingClientRect(); return box.width > 0 && box.height > 0; };
  const bars = of("svg title").map((title) => title.parentNode);
  const query = (code) => of(`[lang="${code}"]`)[0];
  const facts = {
    requests: performance.getEntriesByType("resource").map((entry) => entry.name),
    bars: bars.filter(seen).length,
    invisible: bars.filter((node) => !seen(node)).length,
    overflow: document.documentElement.scrollWidth - innerWidth,
    direction: Object.fromEntries(["ar", "te"].map((code) => [code, getComputedStyle(query(code)).direction])),
    background: getComputedStyle(document.body).backgroundColor,
    failed: window.failed || null,
  };
  document.body.setAttribute("data-facts", JSON.stringify(facts));
});
addEventListener("error", (event) => { window.failed = event.message; });
addEventListener("securitypolicyviolation", (event) => { window.failed = event.blockedURI; });
</script>"""


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    return path


def render(browser, page, *options):
    """The document tree after the page was loaded, and what the browser complained about."""
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", *options]
    result = subprocess.run(
        [*command, f"--user-data-dir={page.parent / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, encoding="utf-8", timeout=120, check=True,
    )  # fmt: skip
    return result.stdout, [line for line in result.stderr.splitlines() if "CONSOLE" in line]


def facts(browser, page, *options):
    tree, complaints = render(browser, page, *options)
    assert complaints == []
    return json.loads(unescape(re.search(r'data-facts="([^"]*)"', tree).group(1)))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report on the bundled sample, with a passage added that tries to break out."""
    directory = tmp_path_factory.mktemp("page")
    attack = "<script>window.failed = 'ran'</script><img src='https://example.com/x.png'>"
    lines = (files("pyserini_xqg.datasets") / "sample" / "passages.jsonl").read_text(encoding="utf-8").splitlines()
    records = [*map(json.loads, lines)]
    records.append({"docid": "attack", "title": attack, "text": attack, "generated_queries": {"te": [attack]}})
    corpus = write_jsonl(directory / "sample.jsonl", records)
    path = directory / "report.html"
    result = run_module("pyserini_xqg.queries", "report", corpus, "--html", path, "--examples", 99)
    assert result.returncode == 0, result.stderr
    return path


@pytest.fixture(scope="module")
def probed(page):
    """The same page with a script that measures it, which the page's own policy would not let run."""
    text = page.read_text(encoding="utf-8")
    policy = re.search(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", text).group(0)
    path = page.with_name("probed.html")
    path.write_text(text.replace(policy, PROBE), encoding="utf-8")
    return path


def test_page_is_shown_whole(browser, page):
    tree, complaints = render(browser, page)
    assert complaints == []
    assert tree.count("<svg") == 21
    assert "&lt;script&gt;window.failed" in tree
    assert "<script" not in tree
    assert page.stat().st_size < 1_000_000


@pytest.mark.parametrize("width", [1280, 500])
def test_page_renders_without_requests(browser, probed, width):
    found = facts(browser, probed, f"--window-size={width},900")
    assert found["requests"] == []
    assert found["failed"] is None
    assert found["bars"] > 60
    assert found["invisible"] == 0
    assert found["overflow"] <= 0
    assert found["direction"] == {"ar": "rtl", "te": "ltr"}


def test_page_follows_a_dark_desktop(browser, probed):
    light = facts(browser, probed, "--blink-settings=preferredColorScheme=1")
    dark = facts(browser, probed, "--blink-settings=preferredColorScheme=0")
    assert light["background"] == "rgb(255, 255, 255)"
    assert max(map(int, re.findall(r"\d+", dark["background"]))) < 64
