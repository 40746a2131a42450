"""The files of a report for papers: a LaTeX table, BibTeX entries of what was used, and CSV by run and by class."""

import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from flowers_tl.config.backbones import FAMILIES
from flowers_tl.report.paired_tests import PairedDifference, span
from flowers_tl.report.summary import ComparisonSummary, Measure, remove_folders
from flowers_tl.report.table import number
from flowers_tl.results.load_runs import Run
from flowers_tl.results.scores import percent
from flowers_tl.utils.files import format_csv
from flowers_tl.utils.templates import render

# What a run is named by, and papers with it.
CITED = ("strategy", "backbone", "data", "optimizer", "scheduler", "regularisation")


def paper_files(summary: ComparisonSummary, differences: Sequence[PairedDifference]) -> dict[str, str]:
    """The files' texts by name; ``differences`` are those between the best and every other group."""
    differs = {difference.second.label for difference in differences if difference.significant}
    rows = [run_row(strategy.label, run, summary) for strategy in summary.strategies for run in strategy.runs]
    values: dict[str, Any] = {"summary": summary, "differs": differs, "commands": [row["command"] for row in rows]}
    return {
        "report.tex": render(__package__, "report.tex.j2", **values, percent=percent, span=span),
        "references.bib": cite(run.config.get(f"{group}.name") for run in summary.runs for group in CITED),
        "per_run.csv": format_csv(rows),
        "per_class.csv": format_csv(class_rows(summary)),
    }


def cite(names: Iterable[str | None]) -> str:
    """The BibTeX entries that have one of the names as a keyword."""
    text = (files(__package__) / "templates" / "references.bib").read_text(encoding="utf-8")
    head, *entries = text.rstrip().split("\n\n")
    keywords = [re.search(r"keywords = \{(.*)\}", entry) for entry in entries]
    used = with_families({name for name in names if name})
    cited = [entry for entry, words in zip(entries, keywords, strict=True) if words and used & {*words[1].split(", ")}]
    return "\n".join([head, *cited]) + "\n"


def with_families(names: set[str]) -> set[str]:
    """These names, and the families of networks that are among them."""
    return names | {family for family, rest in FAMILIES.items() if names & {family + one for one in rest}}


def run_row(label: str, run: Run, summary: ComparisonSummary) -> dict[str, object]:
    """The numbers of a run, shares from 0 to 1, seconds and FLOPs, and its command; an empty cell is not on record."""
    result, flops, seconds = run.result, run.result.get("flops") or {}, run.result.get("seconds") or {}
    row = {"strategy": label, "seed": result["seed"], "folder": run.folder.name, "epochs": result.get("epochs", "")}
    row |= {f"{split}_{name}": number(value) for split in ("val", "test") for name, value in result[split].items()}
    row |= {"seconds": seconds.get("total", ""), "device": result.get("device", "")}
    row |= {f"{kind}_flops": flops.get(kind, "") for kind in ("forward", "training")}
    row |= {"cold_seconds": seconds.get("cold", ""), "peak_memory_gb": result.get("peak_memory_gb") or ""}
    words = run.result.get("command")
    command = " ".join(["python -m flowers_tl.train", *words]) if words else ""
    return row | {"command": remove_folders(command, summary.runs)}


def class_rows(summary: ComparisonSummary) -> list[dict[str, object]]:
    """For each group and class: the number of test images, and the mean and spread of the accuracy over the seeds."""
    rows: list[dict[str, object]] = []
    for strategy in summary.with_predictions:
        for label, images in zip(*np.unique(summary.test.labels, return_counts=True), strict=True):
            measure = Measure(strategy.predictions.correct[:, summary.test.labels == label].mean(axis=1))
            row = {"strategy": strategy.label, "class": summary.class_name(int(label)), "images": int(images)}
            rows.append(row | {"accuracy_mean": number(measure.mean), "accuracy_sd": number(measure.spread)})
    return rows
