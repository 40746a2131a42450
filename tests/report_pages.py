"""What a reader sees of a report's page, and runs planted for it."""

import html
import re

from written_runs import TRUTH, logits_of


def section(page, name):
    return re.search(rf'<section id="{name}".*?</section>', page, re.DOTALL)[0]


def words(markup):
    """The text that a reader sees."""
    spaced = re.sub(r"(</?(?:td|th|tr|li|ol|p|h\d|small|span|figcaption|div|strong))\b", r" \1", markup)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", spaced)).split())


def rows(markup):
    """Cells of a table's body, as text."""
    found = re.findall(r"<tr>(.*?)</tr>", markup.split("<tbody>")[1], re.DOTALL)
    return [[words(cell) for cell in re.findall(r"<(?:td|th).*?</(?:td|th)>", row, re.DOTALL)] for row in found]


def planted(run):
    """Two seeds of fine_tuning, 9 and 8 of 10 right, and one of feature_extraction, 6 of 10."""
    nine, eight, six = TRUTH.copy(), TRUTH.copy(), TRUTH.copy()
    nine[4] = 0
    eight[[4, 9]] = 0
    six[[4, 7, 8, 9]] = 0
    run("a", seed=0, val=0.91, logits=logits_of(nine), seconds=30)
    run("b", seed=1, val=0.93, logits=logits_of(eight), seconds=34)
    run("c", strategy="feature_extraction", val=0.8, logits=logits_of(six), trainable=50, seconds=4.25)
