"""The capstone's backward passes before three judges: the table of `fp_capstone.gradient_checks`."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import jaxtyping
import pytest

from fp_capstone.gradient_checks import TOLERANCE, backward_passes

sys.path.append(str(Path(__file__).parents[1] / "packages/fp-capstone/figures"))

from _gradients import rows

SOURCES = Path(__file__).parents[1] / "packages/fp-capstone/src/fp_capstone"

# Both sides are float64 and sum the same terms in another order. A gradient of a block (up to 25 in size) is some
# twenty operations deep, each of sums of at most a few dozen terms: some hundred roundings at 2e-16 of 25 are 6e-13.
ROUNDING = 1e-12


@pytest.fixture(scope="module")
def table():
    jaxtyping.config.update("jaxtyping_disable", True)  # enforcing shapes would take most of the time
    found = [row for p in backward_passes() for row in rows(p)]
    jaxtyping.config.update("jaxtyping_disable", False)
    return found


def test_all_judges_agree_on_every_backward_pass(table):
    for row in table:
        assert row.differences <= TOLERANCE, row
        assert row.autograd is None or row.autograd <= ROUNDING, row
        assert row.pytorch is None or row.pytorch <= ROUNDING, row


def test_only_dropout_in_the_whole_model_lacks_a_judge(table):
    # each model draws its own masks there; a mask of attention weights can be read off, and is
    assert [row.name for row in table if row.autograd is None or row.pytorch is None] == ["model, GPT-2, dropout"]


def test_every_claim_about_a_backward_pass_has_a_row(table):
    files = {place.partition(".")[0] for p in backward_passes() for place in p.functions}
    pattern = r"\*\*Claim\*\* `(capstone\.[\w-]+-(?:backward|gradient|scatter|derivative))`"
    stated = {label for file in files for label in re.findall(pattern, (SOURCES / f"{file}.py").read_text("utf8"))}
    assert stated == {claim for row in table for claim in row.claims}


@pytest.mark.slow
def test_the_page_shows_the_table(table):
    from gradient_checks import render

    jaxtyping.config.update("jaxtyping_disable", True)
    page = ElementTree.fromstring(f"<figure>{render()}</figure>")
    jaxtyping.config.update("jaxtyping_disable", False)
    first, second = page.iter("table")
    assert [row.find("th").text for row in first.find("tbody")] == [row.name for row in table]
    assert len(second.find("tbody")) >= 10
