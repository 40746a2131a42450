"""A comparison says what the images do that an audit leaves out, for every strategy, and whether the order changes."""

import numpy as np
import pytest
from written_runs import TRUTH, logits_of

from flowers_tl.compare import main
from flowers_tl.data.exclusions import FIELDS
from flowers_tl.report.excluded_images import describe_change
from flowers_tl.utils.errors import UserError


@pytest.fixture
def audit(tmp_path):
    """Write an audit.csv in which the test images of these numbers have copies in train."""

    def write(numbers, kind="near", confirmed=""):
        rows = [
            f"{kind},jpg/of_train_{k}.jpg,jpg/image_{k}.jpg,train,test,daisy,daisy,0.95,{confirmed}" for k in numbers
        ]
        if kind == "suspect":
            rows = [f"suspect,jpg/image_{k}.jpg,,test,,daisy,rose,0.95,{confirmed}" for k in numbers]
        (tmp_path / "audit.csv").write_text("\n".join([",".join([*FIELDS, "confirmed"]), *rows]))
        return f"exclude={tmp_path / 'audit.csv'}"

    return write


@pytest.fixture
def two(run, tmp_path):
    """Strategy a is right about the first eight of ten images, b about all but the first three."""
    for name, wrong in (("a", [8, 9]), ("b", [0, 1, 2])):
        answers = TRUTH.copy()
        answers[wrong] = (answers[wrong] + 1) % 3
        run(name, strategy=name, logits=logits_of(answers))
    return str(tmp_path / "runs")


def test_every_strategy_and_the_order_are_told_without_leaked_images(two, audit, capsys, tmp_path):
    main([two, f"out={tmp_path / 'out'}", audit([0, 1, 2])])
    out = " ".join("".join(capsys.readouterr()).split())
    page = (tmp_path / "out" / "report" / "report.html").read_text()
    assert "3 of 10 test images are left out" in page
    for text in (out, (tmp_path / "out" / "comparison.md").read_text()):
        assert "3 of 10 test images are left out by audit.csv: 3 with a copy in train." in text
        assert "a: without them accuracy falls by 8.57 points (95 % CI" in text
        assert "from 80.00 % to 71.43 %." in text
        assert "b: without them accuracy rises by 30.00 points" in text
        assert "the order by test accuracy changes from a, b to b, a." in text
        assert "by itself" not in text


def test_nothing_to_leave_out_is_said_and_doubt_alone_leaves_nothing_out(two, audit, capsys, tmp_path):
    main([two, f"out={tmp_path / 'out'}", audit([0, 1], "suspect")])
    out = "".join(capsys.readouterr())
    assert "0 of 10 test images are left out by audit.csv." in out
    assert "without them" not in out
    main([two, f"out={tmp_path / 'out'}", audit([9], "suspect", "true")])
    out = " ".join("".join(capsys.readouterr()).split())
    assert "1 with a confirmed finding." in out
    assert "Leaving out images because a model gets them wrong raises accuracy by itself" in out
    assert "The order of the strategies by test accuracy is the same without these images." in out


def test_runs_without_predictions_are_refused(run, audit, tmp_path):
    run("a", kept=False)
    with pytest.raises(UserError, match="needs predictions by image, and no run has any"):
        compare(tmp_path, audit([0]))


def compare(tmp_path, word):
    from flowers_tl.report.compare_runs import compare_runs

    compare_runs([tmp_path / "runs"], out=tmp_path / "out", exclude=word.partition("=")[2])


def test_a_rise_and_its_limits_have_one_sign():
    hits = np.arange(100) >= 20
    sentence = describe_change(hits, np.arange(100) >= 10)
    assert sentence.startswith("without them accuracy rises by 8.89 points (95 % CI 3")
    assert describe_change(~hits, np.arange(100) >= 10).startswith(
        "without them accuracy falls by 8.89 points (95 % CI 3"
    )
