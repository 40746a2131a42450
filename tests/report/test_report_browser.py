"""The report in a real browser: it asks the network for nothing, sorts, switches, and fits a phone."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from written_runs import write_run

from flowers_tl.report import summarize, write_report
from flowers_tl.results.load_runs import find_runs, group_runs

pytestmark = pytest.mark.slow
NAMES = [f"species {k}" for k in range(12)]
LONG = "fine_tuning" + "_of_a_long_name" * 4
# All columns that a table may have.
MEASURED = {"flops": {"forward": 3_640_000_000, "training": 1_234_567_000_000_000}, "peak_memory_gb": 12.345}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report of three strategies, two of them with two seeds, on 120 drawn images."""
    folder = tmp_path_factory.mktemp("browser")
    rng = np.random.default_rng(0)
    truth = np.arange(120) % 12
    (folder / "jpg").mkdir()
    images = [f"jpg/image_{k}.jpg" for k in range(120)]
    for k, image in enumerate(images):
        Image.new("RGB", (160, 120), (2 * k, 90, 200 - k)).save(folder / image)
    for strategy, skill, seeds, trainable in ((LONG, 3.0, 2, 900), ("linear_probe", 2.0, 1, 50), ("other", 1.0, 2, 50)):
        for seed in range(seeds):
            logits = rng.normal(size=(120, 12)).astype(np.float32)
            logits[np.arange(120), truth] += skill
            write_run(
                folder / "runs" / f"{strategy}{seed}", strategy, seed, skill / 4, None, truth, NAMES, logits,
                trainable, 10 * skill, 0 if strategy == "linear_probe" else 3, folder, images, measured=MEASURED,
            )  # fmt: skip
    return write_report(summarize(group_runs(find_runs([folder / "runs"])[0])[0]), folder / "report")


@pytest.fixture
def browser(chromium, page):
    """The report, freshly opened at the size of a desk."""
    size(chromium, 1280)
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    for log in ("browser", "performance"):
        chromium.get_log(log)  # what earlier tests left
    chromium.get(page.as_uri())
    yield chromium
    assert [entry["message"] for entry in chromium.get_log("browser")] == []  # no error and no warning in any test


def size(browser, width):
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def find(browser, selector):
    return browser.find_element("css selector", selector)


def cells(browser, table, column):
    script = (
        "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].map(r => r.cells[arguments[1]].textContent)"
    )
    return browser.execute_script(script, table, column)


def press(browser, element, key):
    browser.execute_script("arguments[0].focus()", element)
    element.send_keys(key)


def test_nothing_is_asked_of_the_network_and_all_images_are_there(browser, page):
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert page.as_uri() in asked  # else the log has missed something
    assert [url[:60] for url in asked if url != page.as_uri() and not url.startswith("data:")] == []
    loaded = browser.execute_script("return [...document.images].map(i => i.complete && i.naturalWidth)")
    assert len(loaded) > 10
    assert min(loaded) > 0


def test_the_policy_forbids_the_network(browser, page):
    """With the tag gone from the page this fails: the image would be asked for."""
    script = "const done = arguments[0]; document.addEventListener('securitypolicyviolation', e => done(e.violatedDirective));"
    script += "const i = new Image(); i.onerror = () => setTimeout(() => done('asked'), 500); i.src = 'http://127.0.0.1:9/x.png'"
    assert browser.execute_async_script(script) == "img-src"
    browser.get_log("browser")  # where the refusal is told


def test_tables_sort_by_click_and_by_key(browser):
    header = browser.find_elements("css selector", "#groups thead th")[2]
    button = header.find_element("css selector", "button")
    button.click()
    falling = cells(browser, "groups", 2)
    assert header.get_attribute("aria-sort") == "descending"
    assert falling == sorted(falling, key=lambda text: -float(text.split()[0]))
    press(browser, button, "\ue007")  # Enter
    assert header.get_attribute("aria-sort") == "ascending"
    assert cells(browser, "groups", 2) == falling[::-1]
    press(browser, browser.find_elements("css selector", "#groups thead button")[0], " ")
    assert cells(browser, "groups", 0) == sorted(cells(browser, "groups", 0))
    states = [th.get_attribute("aria-sort") for th in browser.find_elements("css selector", "#groups thead th")]
    assert states == ["ascending"] + ["none"] * (len(states) - 1)


@pytest.mark.parametrize("row", [0, 1, 2])
def test_a_dash_sorts_last_either_way(browser, row):
    script = "const c = document.querySelectorAll('#groups tbody tr')[arguments[0]].cells[2];"
    browser.execute_script(script + "c.textContent = '-'; delete c.dataset.value", row)
    button = browser.find_elements("css selector", "#groups thead button")[2]
    for _ in range(2):
        button.click()
        assert cells(browser, "groups", 2)[-1] == "-"


def test_the_boxes_change_the_classes_and_change_them_back(browser):
    from selenium.webdriver.support.ui import Select

    def shown():
        return find(browser, "#classes").get_property("innerText")

    before, rows = shown(), cells(browser, "all-classes", 4)
    Select(find(browser, "#second")).select_by_visible_text("other")
    changed = cells(browser, "all-classes", 4)
    assert changed != rows
    assert changed == sorted(changed, key=lambda text: -float(text.replace("\u2212", "-")))
    assert find(browser, "#all-classes .second").text == "other"
    first, gain = find(browser, "#gains li .name").text, find(browser, "#gains li .gap").text
    assert (first, gain) == (cells(browser, "all-classes", 0)[0], f"+{changed[0]} points")
    Select(find(browser, "#second")).select_by_visible_text("linear_probe")
    assert shown() == before  # the script writes what the page came with


def test_the_slider_shows_the_values_of_its_epoch(browser):
    losses = cells(browser, "values", 1)
    press(browser, find(browser, "#epoch"), "\ue012")  # left
    assert find(browser, ".slider output").text == "2"
    assert cells(browser, "values", 1) == [text if text == "-" else "1.000" for text in losses]
    assert find(browser, "svg.curves .cursor").value_of_css_property("visibility") == "visible"
    pick = find(browser, ".pick")
    press(browser, pick, "\ue007")
    assert pick.get_attribute("aria-pressed") == "true"
    faint = browser.execute_script(
        "return [...document.querySelectorAll('svg.curves .series')].map(s => getComputedStyle(s).opacity)"
    )
    assert sorted(set(faint)) == ["0.13", "1"]


WIDE = """const page = document.documentElement;
    const wide = [...document.querySelectorAll('body *')].filter(e => !e.matches('.scroll *')
        && !e.classList.contains('skip') && e.getBoundingClientRect().right > page.clientWidth + 1);
    return [page.scrollWidth - page.clientWidth, wide.map(e => e.outerHTML.slice(0, 80))]"""


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_only_tables_scroll_sideways(browser, width):
    size(browser, width)
    assert browser.execute_script(WIDE) == [0, []]
    if width == 360:
        box = find(browser, "#table .scroll")
        assert box.get_property("scrollWidth") > box.get_property("clientWidth")
        # Validation accuracy, which selects, is seen without scrolling.
        column = browser.find_elements("css selector", "#groups tbody td")[0]
        assert column.rect["x"] + column.rect["width"] <= width


def test_dark_and_light(browser):
    def paper():
        return find(browser, "body").value_of_css_property("background-color")

    light = paper()
    find(browser, "#theme").click()
    dark = paper()
    assert dark != light
    assert find(browser, "#theme").get_attribute("aria-pressed") == "true"
    find(browser, "#theme").click()
    assert paper() == light
    preferred = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", preferred)
    browser.refresh()
    assert paper() == dark
    find(browser, "#theme").click()
    assert paper() == light


def test_the_first_stop_of_the_keyboard_skips_to_the_report(browser):
    from selenium.webdriver.common.keys import Keys

    find(browser, "body").send_keys(Keys.TAB)
    link = browser.switch_to.active_element
    assert link.text == "Skip to the report"
    assert link.rect["x"] >= 0
    link.send_keys(Keys.ENTER)
    assert browser.switch_to.active_element.get_attribute("id") == "main"


def test_it_prints(browser):
    pdf = browser.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})["data"]
    assert len(pdf) > 20_000


# Strategies and seeds; classes; long names; width; how it is seen. Each two values of two kinds meet in one row.
PAIRWISE = [
    ((1, 1), 6, False, 320, "light"), ((1, 1), 102, True, 390, "dark"), ((1, 1), 1000, False, 768, "print"),
    ((1, 1), 6, True, 1280, "dark"), ((2, 1), 102, False, 320, "print"), ((2, 1), 1000, True, 390, "light"),
    ((2, 1), 6, False, 768, "dark"), ((2, 1), 102, True, 1280, "light"), ((8, 3), 1000, True, 320, "dark"),
    ((8, 3), 6, False, 390, "print"), ((8, 3), 102, True, 768, "light"), ((8, 3), 1000, False, 1280, "print"),
    ((40, 5), 102, False, 390, "dark"), ((40, 5), 6, True, 320, "light"), ((40, 5), 6, True, 768, "print"),
    ((40, 5), 1000, False, 1280, "light"),
]  # fmt: skip
LONG_CLASS = "Pseudocyclamen" * 5


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The page of a report of drawn answers: a function of strategies and seeds, classes, and whether names are long."""
    pages = {}

    def make(counts, classes, long):
        key = (counts, classes, long)
        if key not in pages:
            folder, rng = tmp_path_factory.mktemp("pairwise"), np.random.default_rng(0)
            truth = np.arange(120) % classes
            names = [f"{LONG_CLASS if long else 'class '}{k}" for k in range(classes)]
            for k in range(counts[0]):
                strategy = f"{LONG if long else 'strategy'}_{k}"
                for seed in range(counts[1]):
                    answers = np.where(rng.random(120) < 0.1 + k / 50, (truth + 1) % classes, truth)
                    logits = 3 * np.eye(classes, dtype=np.float32)[answers]
                    write_run(
                        folder / "runs" / f"{k}_{seed}", strategy, seed, 0.9 - k / 50, None, truth, names, logits,
                        900 + k, 10 + k, 3 + k % 2, measured=MEASURED if long else None,
                    )  # fmt: skip
            groups = group_runs(find_runs([folder / "runs"])[0])[0]
            pages[key] = write_report(summarize(groups), folder / "report")
        return pages[key]

    return make


@pytest.fixture(scope="session")
def axe(tmp_path_factory):
    """The script of axe-core, which finds what keeps people out; from the npm registry."""
    if not (npm := shutil.which("npm")):
        pytest.skip("needs npm, which is not there, for axe-core")
    folder = tmp_path_factory.mktemp("axe")
    command = [npm, "install", "--no-save", "--no-audit", "--no-fund", "--prefix", str(folder), "axe-core@4.11.0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"axe-core can't be installed from the npm registry: {done.stderr[-200:]}")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


def show(browser, page, width, seen):
    """Open a page in a light or dark window of this width, or as it is printed, on A4 at the least."""
    size(browser, max(width, 700) if seen == "print" else width)
    features = [{"name": "prefers-color-scheme", "value": "dark" if seen == "dark" else "light"}]
    media = {"media": "print" if seen == "print" else "screen", "features": features}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get_log("browser")
    browser.get(page.as_uri())


def identify(row):
    (strategies, seeds), classes, long, width, seen = row
    return f"{strategies * seeds} runs, {classes} classes, {'long' if long else 'short'}, {width}, {seen}"


@pytest.mark.parametrize("row", PAIRWISE, ids=identify)
def test_nothing_overflows_and_no_label_is_dropped(chromium, written, row):
    counts, classes, long, width, seen = row
    show(chromium, written(counts, classes, long), width, seen)
    assert chromium.execute_script(WIDE) == [0, []]
    assert chromium.get_log("browser") == []
    if seen == "print":
        # Paper does not scroll: a table that is wider than its box would be cut off.
        script = "return [...document.querySelectorAll('.scroll')].map(b => b.scrollWidth - b.clientWidth)"
        assert max(chromium.execute_script(script)) <= 1
    # Names stand in rows of the first chart: none is dropped, and none lies upon another.
    script = "return [...document.querySelectorAll('.answer svg text')].map(t => [t.textContent, t.getBoundingClientRect().y])"
    start = LONG[:18] if long else "strategy_"
    heights = sorted(y for text, y in chromium.execute_script(script) if text.startswith(start))
    assert len(heights) == min(24, counts[0])
    assert np.diff(heights).min(initial=99) > 10
    matrix = chromium.find_elements("css selector", ".matrix svg")
    assert len(matrix) == (classes <= 30)


@pytest.mark.parametrize("row", [PAIRWISE[k] for k in (3, 5, 8, 10)], ids=identify)
def test_axe_finds_nothing_that_keeps_people_out(chromium, written, axe, row):
    counts, classes, long, width, seen = row
    show(chromium, written(counts, classes, long), width, seen)
    chromium.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true })")
    chromium.execute_script(axe)
    chromium.set_script_timeout(300)
    script = "const done = arguments[0]; axe.run().then(found => done(found.violations.map(v => [v.id, v.nodes[0].html.slice(0, 200)])))"
    assert chromium.execute_async_script(script) == []
