"""The report says what the runs' answers say: planted logits, numbers by hand, and nothing that a run brings is markup."""

import json
import re
import time
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from report_pages import planted, rows, section, words
from written_runs import TRUTH, logits_of, write_run

from flowers_tl.report import summarize, write_report
from flowers_tl.results.load_runs import find_runs, group_runs
from flowers_tl.results.terminal_tables import print_comparison


def test_one_group_is_shown_and_nothing_is_compared(run, report):
    run("a")
    page, markdown, table = report()
    assert "<h1>fine_<wbr>tuning: 100.0\u00a0% test accuracy on drawn with resnet18</h1>" in page
    assert "There is no other setting to compare it with." in page
    # A page about one run: nothing of it is about others.
    sections = re.findall('<section id="(.*?)"', page)
    assert sections == ["table", "curves", "classes", "confused", "mistakes", "reliability", "provenance"]
    assert "group" not in words(page.split("<body")[1].split("<main")[0]) + words(section(page, "table"))
    assert rows(section(page, "classes"))[0] == ["daisy", "4", "100.0 %"]
    assert "No mistakes." in section(page, "mistakes")
    assert "Nothing is tested." in markdown
    assert len(table) == 1


def test_a_solved_head_is_a_level_and_gaps_are_left_out(run, report):
    run("a", strategy="linear_probe", epochs=0, val=0.7)
    folder = run("b")
    (folder / "history.csv").write_text(
        "epoch,train/loss,val/loss,val/accuracy\n0,2.0,,\n1,inf,0.5,0.8\n2,1.0,0.4,0.9\n"
    )
    page, _, _ = report()
    curves = section(page, "curves")
    assert curves.count('class="series line level"') == 2  # val loss and val accuracy
    assert rows(curves) == [["fine_tuning", "1.000", "0.400", "90.0 %"], ["linear_probe", "-", "0.400", "70.0 %"]]
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert data["curves"][0]["values"][0] == ["2.000", "-", "1.000"]
    assert data["curves"][2]["values"][0] == ["-", "80.0 %", "90.0 %"]


def test_all_panels_have_the_epochs_of_the_slider(run, report):
    """Else the cursor of a panel with fewer values would leave it."""
    (run("a") / "history.csv").write_text(
        "epoch,train/loss,val/loss,val/accuracy\n0,2.0,1.0,0.5\n1,1.0,0.5,\n2,0.5,,\n"
    )
    curves = section(report()[0], "curves")
    assert 'max="3"' in curves
    assert re.findall('data-epochs="(.*?)"', curves) == ["3", "3", "3"]


def test_one_epoch_is_a_point(run, report):
    run("a", epochs=1)
    curves = section(report()[0], "curves")
    assert curves.count('class="series dot"') == 3
    assert "series line" not in curves


def test_one_order_and_one_name_for_each_strategy_everywhere(run, report, groups, capsys):
    for name, val in (("slow", 0.7), ("best", 0.9), ("middle", 0.8)):
        run(name, strategy=name, val=val, logits=logits_of(np.where(np.arange(10) < 10 * (0.9 - val) + 1, 1, TRUTH)))
    page, markdown, table = report()
    print_comparison(groups())
    printed = capsys.readouterr().out
    order = ["best", "middle", "slow"]
    for text in (printed, markdown.split("## All strategies")[1]):
        assert sorted(order, key=text.index) == order
    assert [row["label"] for row in table] == [row[0] for row in rows(section(page, "table"))] == order
    dots = re.search("<svg.*?</svg>", page, re.DOTALL)[0]
    assert re.findall("<title>(.*?):", dots)[::2] == order
    assert rows(section(page, "curves"))[2][0] == "slow"
    numbers = [re.search(rf'class="swatch (s.) d."[^>]*></span>{name}', page)[1] for name in order]
    assert numbers == ["s0", "s1", "s2"]


def test_a_subset_is_called_one(run, report):
    folder = run("a", data={"limit": 10})
    record = json.loads((folder / "result.json").read_text())
    record["protocol"] = {"name": "official", "metric": "accuracy", "splits": {"test": "f"}}
    (folder / "result.json").write_text(json.dumps(record))
    assert "a subset (data.limit=10) of the official splits." in words(report()[0].split("<main")[0])
    (folder / "config.yaml").write_text((folder / "config.yaml").read_text().replace("10", "100"))
    assert "subset" not in words(report()[0])


HOSTILE = "<script>alert(1)</script>\"'&</script><!--{{style}}|`$x$"


def test_nothing_that_a_run_brings_is_markup(run, report, tmp_path):
    wrong = np.zeros(10, int)
    settings = {
        "names": [f"{HOSTILE}{k}" for k in range(3)],
        "images": [f"{HOSTILE.replace('/', '')}{k}.jpg" for k in range(10)],
    }
    run("a", strategy=HOSTILE, logits=logits_of(wrong), root=tmp_path, **settings)
    run("b", strategy="other", val=0.2, **settings)
    page, markdown, table = report([f"A note: {HOSTILE}"])
    assert re.findall(r"<script.*?>", page) == ['<script type="application/json" id="data">', "<script>"]
    assert page.count("</script") == 2
    assert "<!--" not in page
    assert balanced(page) == []
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert data["classes"]["names"][1] == f"{HOSTILE}1"
    assert data["classes"]["labels"]["0"] == HOSTILE
    assert HOSTILE in words(section(page, "table"))
    assert table[0]["label"] == HOSTILE
    assert not re.search(r"(?<!\\)[<`]", markdown)
    lines = [line for line in markdown.splitlines() if line.startswith("| \\<script")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {13, 7}


def balanced(page):
    """Tags that are closed out of turn, or never."""
    page = re.sub(r"<script>.*?</script>|<style>.*?</style>", "", page, flags=re.DOTALL)
    faults, open_tags = [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag not in ("meta", "link", "img", "input", "wbr"):
                open_tags.append(tag)

        def handle_startendtag(self, tag, attributes):
            pass

        def handle_endtag(self, tag):
            if not open_tags or open_tags.pop() != tag:
                faults.append(tag)

    Reader().feed(page)
    return faults + open_tags


def test_the_page_needs_nothing_from_elsewhere(run, report, tmp_path):
    planted(run)
    run("my runs/d", strategy="other", val=0.1)
    notes = [f"{tmp_path}/runs/my runs/z is left out: it failed at /some/where/else/file.txt"]
    page, markdown, table = report(notes)
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "url(" not in page
    assert "@import" not in page
    assert all(address.startswith("data:") for address in re.findall(r' (?:src|href)="([^#].*?)"', page))
    assert balanced(page) == []
    for text in (page, markdown, str(table)):
        assert str(tmp_path) not in text
        assert "/some/where" not in text
    assert "<li>z is left out: it failed at file.txt</li>" in page
    assert len(set(re.findall(r' id="(.*?)"', page))) == len(re.findall(r' id="(.*?)"', page))


def test_the_same_runs_give_the_same_files(run, report):
    planted(run)
    assert report() == report()


@pytest.mark.slow
def test_thirty_runs_of_the_flowers_take_seconds_and_megabytes(tmp_path):
    rng = np.random.default_rng(0)
    truth, names = rng.integers(0, 102, 6149), [f"species {k}" for k in range(102)]
    images = [f"jpg/image_{k:05}.jpg" for k in range(len(truth))]
    shades = rng.integers(0, 255, (500, 600, 3), dtype=np.uint8)  # noise: the largest JPEGs there are
    first = tmp_path / "root" / images[0]
    first.parent.mkdir(parents=True)
    Image.fromarray(shades).save(first, quality=95)
    for image in images[1:]:
        (tmp_path / "root" / image).hardlink_to(first)
    for k in range(30):
        logits = rng.normal(size=(len(truth), 102)).astype(np.float32)
        logits[np.arange(len(truth)), truth] += 3 - k % 10 / 4
        folder = tmp_path / "runs" / f"run{k}"
        write_run(
            folder, f"strategy{k % 10}", k // 10, 0.9 - k % 10 / 50, None, truth, names, logits, 250 + k % 10,
            10.0 + k % 10, 15, tmp_path / "root", images,
        )  # fmt: skip
    groups = group_runs(find_runs([tmp_path / "runs"])[0])[0]
    began = time.process_time()
    page = write_report(summarize(groups), tmp_path / "report")
    assert time.process_time() - began < 20
    assert page.stat().st_size < 15e6
    assert 24 <= len(re.findall("<img ", page.read_text())) <= 60
