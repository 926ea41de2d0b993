"""The page of ``python -m pyserini_xqg.report`` in a real browser: rendering, keys, colours, size and speed."""

import json
import random
import re
import shutil
import time

import pytest
from helpers import write_jsonl
from integration.test_queries_page import BROWSERS
from report_pages import ATTACK, FILES, QUESTIONS, write_collection

from pyserini_xqg.report import __main__ as report

pytestmark = pytest.mark.integration

PAGE_BYTES = 5_000_000
LANGUAGES = ("ar", "bn", "fi", "ja", "ko", "ru", "te")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory, tiny_encoder):
    """A page with inner products of a few questions, one of which tries to break out."""
    directory = write_collection(tmp_path_factory.mktemp("report"))
    files = [directory / name if "." in name else name for name in ("a.txt", "b.txt", *FILES)]
    encoder = ["--encoder", tiny_encoder, "--pooling", "mean", "--device", "cpu"]
    report.main([*map(str, [*files, *encoder, "--output", directory / "page.html"])])
    return directory / "page.html"


@pytest.fixture
def large(tmp_path, shared_data, tiny_encoder):
    """The real 2,110 XOR-TyDi dev questions with a gold passage and 35 generated queries each, all of them distinct."""
    directory = tmp_path
    chance = random.Random(1)
    questions = shared_data / "xor-tydi" / "xor_dev_retrieve_eng_span_v1_1.jsonl"
    asked = [json.loads(line) for line in questions.read_text(encoding="utf-8").splitlines()]
    words: dict[str, list[str]] = {}
    for line in (
        (shared_data / "xor-tydi" / "xor_train_retrieve_eng_span.jsonl").read_text(encoding="utf-8").splitlines()
    ):
        record = json.loads(line)
        words.setdefault(record["lang"].strip(), []).extend(record["question"].split())
    paragraphs = [
        json.loads(line)["text"]
        for line in (shared_data / "xquad-loo" / "passages.jsonl").read_text("utf-8").splitlines()
    ]
    sentences = [sentence for text in paragraphs for sentence in re.split(r"(?<=\.) ", text)]
    # Words drawn at random compress worse than what a generator writes.
    passages = [
        {
            "docid": f"{number}:0",
            "title": " ".join(chance.choice(sentences).split()[:3]),
            "text": " ".join(" ".join(chance.sample(sentences, 6)).split()[:100]),
            "generated_queries": {
                code: [" ".join(chance.choices(words[code], k=chance.randint(4, 8))) for _ in range(5)]
                for code in LANGUAGES
            },
        }
        for number in range(len(asked))
    ]
    write_jsonl(directory / "passages.jsonl", passages)
    (directory / "qrels.txt").write_text("".join(f"{one['id']} 0 {n}:0 1\n" for n, one in enumerate(asked)))
    for name, shape in (("a.txt", 0.4), ("b.txt", 0.6)):
        with open(directory / name, "w") as out:
            for number, one in enumerate(asked):
                ranking = chance.sample(range(len(asked)), 100)
                ranking = [docid for docid in ranking if docid != number][:99]
                ranking.insert(min(int(chance.paretovariate(shape)), 10_000) - 1, number)
                out.writelines(f"{one['id']} Q0 {d}:0 {n} {101 - n} x\n" for n, d in enumerate(ranking, start=1))
    files = [directory / "a.txt", directory / "b.txt", "--qrels", directory / "qrels.txt", "--answers", questions]
    files += ["--passages", directory / "passages.jsonl", "--measures", "RR@10", "R@10"]
    encoder = ["--encoder", tiny_encoder, "--pooling", "mean", "--device", "cpu"]
    report.main([*map(str, [*files, *encoder, "--threads", "1", "--output", directory / "page.html"])])
    return directory / "page.html"


@pytest.fixture
def opened(browser):
    """Opens a page and gives it when its list is there; complains afterwards about requests and errors."""
    contexts, faults = [], []

    def open_page(path, width=1280, height=900, scheme="light", question="", script="", javascript=True, wait=True):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, java_script_enabled=javascript
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: request.url.startswith("file:") or faults.append(request.url))
        if script:
            page.add_init_script(script)
        page.goto(f"{path.as_uri()}{'#' + question if question else ''}")
        if wait:
            page.wait_for_selector(".row")
        return page

    open_page.faults = faults
    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def first_rows(page, number=3):
    return [row.inner_text().split("\n")[-1] for row in rows_in_order(page)[:number]]


def rows_in_order(page):
    rows = page.query_selector_all(".row")
    return sorted(rows, key=lambda row: int(row.get_attribute("aria-posinset")))


def ids_in_order(page):
    """Ids of the questions of a small page, walking through its list."""
    page.focus("#list")
    page.keyboard.press("Home")
    found = []
    for _ in range(int(page.inner_text("#found").split(" of ")[0])):
        found.append(page.inner_text("#detail p .id >> nth=0"))
        page.keyboard.press("ArrowDown")
    return found


@pytest.mark.parametrize("width", [1280, 600, 380])
def test_page_fits_the_window(opened, small, width):
    page = opened(small, width)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    seen = "(node) => { const box = node.getBoundingClientRect(); return box.width > 0 && box.height > 0; }"
    assert page.evaluate(f"[...document.querySelectorAll('svg, #list, #detail, .row')].every({seen})")
    for query_id, *_ in QUESTIONS:
        go_to(page, query_id)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, query_id
        assert page.evaluate("detail.scrollWidth - detail.clientWidth") <= 0, query_id


def go_to(page, query_id):
    page.evaluate("(id) => { location.hash = id; }", query_id)
    page.wait_for_function("(id) => document.querySelector('#detail .id').textContent === id", arg=query_id)


def test_questions_are_shown_in_their_own_script(opened, small):
    page = opened(small)
    for query_id, code, text, _, _, first, second in QUESTIONS:
        go_to(page, query_id)
        title = page.locator("#detail h3")
        assert title.text_content() == text
        assert title.get_attribute("lang") == code
        if query_id != "q-te":  # which begins with Latin letters
            direction = title.evaluate("(node) => getComputedStyle(node).direction")
            assert direction == ("rtl" if code == "ar" else "ltr")
        ranks = [row.inner_text().split("\t")[-1] for row in page.query_selector_all("#detail tbody tr")]
        assert ranks == [str(first) if first else ">4", str(second)]
    go_to(page, "q-te")
    assert set(page.locator("#detail mark").all_text_contents()) == {"nowhere else"}  # not "yes"
    page = opened(small, question="q-ar")
    assert page.locator("#detail li [lang=ar]").first.evaluate("(node) => getComputedStyle(node).direction") == "rtl"


def test_hostile_texts_are_shown_and_do_nothing(opened, small):
    page = opened(small, question="q-te")
    assert ATTACK in page.text_content("#detail .passage .text")
    assert page.evaluate("window.failed") is None
    assert page.query_selector("#detail img") is None
    policy = """() => new Promise((done) => {
      addEventListener("securitypolicyviolation", (event) => done(event.violatedDirective));
      const script = document.createElement("script");
      script.textContent = "window.failed = 'ran'";
      document.body.append(script);
    })"""
    assert page.evaluate(policy).startswith("script-src")
    assert page.evaluate("window.failed") is None
    assert "Content Security Policy" in opened.faults.pop()


def test_search_filters_and_order(opened, small):
    page = opened(small)
    page.select_option("#measure", "RR@10")
    gain = {q: (1 / second if second else 0) - (1 / first if first else 0) for q, *_, first, second in QUESTIONS}
    assert (
        ids_in_order(page) == ["q-te2", "q-ar", "q-te", "q-ar2", "q-ja", "q-bn"] == sorted(gain, key=lambda q: -gain[q])
    )
    page.select_option("#order", "loss")
    assert ids_in_order(page) == sorted(gain, key=gain.get)
    page.select_option("#order", "id")
    assert ids_in_order(page) == ["q-ar", "q-ar2", "q-bn", "q-ja", "q-te", "q-te2"]
    page.select_option("#outcome", "lost")
    assert ids_in_order(page) == ["q-bn"]
    page.select_option("#outcome", "")
    page.select_option("#language", label="Telugu (te)")
    assert page.inner_text("#found") == "2 of 6 questions"
    page.select_option("#language", "")
    page.fill("#search", "BRIDGE 1868")  # a title, an answer; folded
    page.wait_for_function("() => document.getElementById('found').textContent.startsWith('3 ')")
    assert ids_in_order(page) == ["q-bn", "q-ja", "q-te2"]
    page.fill("#search", "சென்னை")
    page.wait_for_function("() => document.getElementById('found').textContent.startsWith('0 ')")
    assert "No question fits" in page.inner_text("#detail")


def test_generated_query_that_pulled_the_passage_up(opened, small):
    from report_pages import question_of

    page = opened(small, question="q-ar")
    (products,) = question_of(small.read_text(encoding="utf-8"), "q-ar")["products"]
    values = [value for some in products["queries"].values() for value in some]
    marked = page.locator("#detail li.best")
    assert marked.count() == 1
    assert float(marked.locator(".number").inner_text()) == pytest.approx(max(values))
    assert page.locator("#detail li.own .number").first.inner_text() == f"{products['own']:.{digits(products)}f}"
    for group in page.locator("#detail details").all():
        shown = [float(text) for text in group.locator(".number").all_text_contents()]
        assert shown == sorted(shown, reverse=True)


def digits(products):
    return max(len(repr(value).partition(".")[2]) for some in products["queries"].values() for value in some)


def test_keyboard_alone(opened, small):
    page = opened(small)
    active = "document.activeElement.id || document.activeElement.className || document.activeElement.tagName"
    order = []
    for _ in range(8):
        page.keyboard.press("Tab")
        order.append(page.evaluate(active))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", order
    assert order == ["skip", "search", "language", "measure", "outcome", "order", "list", "SUMMARY"]
    page.keyboard.press("/")
    assert page.evaluate(active) == "search"
    page.keyboard.type("1868/")
    assert page.input_value("#search") == "1868/"
    page.keyboard.press("Escape")
    assert page.input_value("#search") == ""
    page.keyboard.press("ArrowDown")
    assert page.evaluate(active) == "list"
    chosen = "Number(document.getElementById(list.getAttribute('aria-activedescendant')).getAttribute('aria-posinset'))"
    for key, place in (("ArrowDown", 2), ("ArrowDown", 3), ("ArrowUp", 2), ("End", 6), ("ArrowDown", 6), ("Home", 1)):
        page.keyboard.press(key)
        assert page.evaluate(chosen) == place, key
        assert page.locator("[aria-selected=true]").count() == 1
    page.keyboard.press("Enter")
    assert page.evaluate(active) == "detail"
    page.keyboard.press("Escape")
    assert page.evaluate(active) == "list"


def test_what_assistive_technology_is_told(opened, small):
    page = opened(small)
    for control in ("search", "language", "measure", "outcome", "order"):
        assert page.locator(f"#{control}").evaluate("(node) => node.labels.length") == 1
    assert page.get_by_role("listbox", name="Questions").count() == 1
    assert page.get_by_role("option").filter(has=page.locator(".question")).count() == 6
    assert {row.get_attribute("aria-setsize") for row in page.query_selector_all(".row")} == {"6"}
    assert page.evaluate("[...document.querySelectorAll('svg')].every((svg) => svg.getAttribute('aria-label'))")


CONTRAST = """(selector) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const paint = (colours) => {
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((part) => part / 255)
      .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
      .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  };
  return Math.min(...[...document.querySelectorAll(selector)].map((node) => {
    const behind = [];
    for (let at = node; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
    const [one, other] = [paint(behind), paint([...behind, getComputedStyle(node).color])].sort((a, b) => b - a);
    return (one + 0.05) / (other + 0.05);
  }));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(opened, small, scheme):
    """At least 4.5 to 1, what WCAG 2 asks for of small texts."""
    page = opened(small, scheme=scheme)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    for selector in ("p", "td", "th", ".soft", ".won", ".lost", ".facts span", ".question", ".tag", ".id", "summary"):
        assert page.evaluate(CONTRAST, selector) >= 4.5, selector


def test_browser_that_cannot_unpack(opened, small):
    page = opened(small, script="delete globalThis.DecompressionStream", wait=False)
    assert "a browser that can unpack gzip" in page.inner_text("#message")
    assert page.is_hidden("#explorer") and page.is_visible("table") and page.is_visible("svg")


def test_browser_without_scripts(opened, small):
    page = opened(small, javascript=False, wait=False)
    assert "The explorer needs JavaScript" in page.inner_text("#message")
    assert page.is_visible("table") and page.is_visible("svg")


def test_damaged_data_is_named(opened, small):
    text = small.read_text(encoding="utf-8")
    damaged = small.with_name("damaged.html")
    damaged.write_text(re.sub(r'(id="data">.{200}).{80}', r"\1", text), encoding="utf-8")
    page = opened(damaged, wait=False)
    page.wait_for_function("() => document.getElementById('message').textContent.includes('cannot be shown')")
    assert page.is_hidden("#explorer")


def test_large_page_is_small_and_quick(opened, large):
    assert large.stat().st_size < PAGE_BYTES
    started = time.perf_counter()
    page = opened(large)
    assert time.perf_counter() - started < 15
    assert page.inner_text("#found") == "2,110 of 2,110 questions"
    assert page.locator(".row").count() < 60
    key = "list.dispatchEvent(new KeyboardEvent('keydown', { key: 'KEY', bubbles: true }))"
    change = "order.value = 'loss'; order.dispatchEvent(new Event('change'))"
    for act in [key.replace("KEY", name) for name in ("ArrowDown", "PageDown", "End", "Home")] + [change]:
        took = page.evaluate(f"() => {{ const start = performance.now(); {act}; list.offsetHeight; "
                             "return performance.now() - start; }")  # fmt: skip
        assert took < 250, act
    page.fill("#search", "1868")
    page.wait_for_function("() => !document.getElementById('found').textContent.startsWith('2,110')")
    page.focus("#list")
    page.keyboard.press("End")
    assert int(rows_in_order(page)[-1].get_attribute("aria-setsize")) < 2110
