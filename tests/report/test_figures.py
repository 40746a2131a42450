"""Figures for papers are those of the page: in each format, the same every time, and without what only a page needs."""

import pytest
from report_pages import planted

from flowers_tl.report.figures import draw_figures, read_formats, write_figures
from flowers_tl.report.summary import summarize
from flowers_tl.utils.errors import UserError

NAMES = {"curves", "accuracy", "cost_run", "cost_parameters", "confusion", "calibration"}


def test_each_figure_is_written_in_each_format_the_same_every_time(run, groups, tmp_path):
    planted(run)
    summary = summarize(groups())
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_figures(summary, tmp_path / folder, ["svg", "pdf"])
    files = sorted((tmp_path / "a").iterdir())
    assert {file.name for file in files} == {f"{name}.{kind}" for name in NAMES for kind in ("svg", "pdf")}
    for file in files:
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
        assert file.read_bytes()[:5] == (b"%PDF-" if file.suffix == ".pdf" else b"<?xml")
    svg = (tmp_path / "a" / "accuracy.svg").read_text()
    assert ">fine_tuning<" in svg
    # No variable of the page's theme, and no mark of its script.
    assert "var(--" not in svg
    assert "data-series" not in svg


def test_what_was_not_measured_has_no_figure(run, groups):
    run("a", kept=False)
    assert set(draw_figures(summarize(groups()))) == NAMES - {"confusion", "calibration"}


def test_another_format_is_refused():
    assert read_formats("svg,pdf") == ["svg", "pdf"]
    assert read_formats("") == []
    with pytest.raises(UserError, match="figures=svg,jpg must be some of png, svg, pdf, separated by commas, not jpg"):
        read_formats("svg,jpg")
