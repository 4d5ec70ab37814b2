"""Mirrors src/fp_workbook/ledger.py: each kind of mismatch, on a small tree made for it."""

from textwrap import dedent

import pytest

from fp_workbook import ledger

SECTION = '''r"""
A section.

**Claim** `markov.sum`. A statement.

**Proof.** Because. $\\blacksquare$
"""


class Chain:
    def step(self):
        """
        A step.

        **Claim** `markov.step`. Another statement.
        """
'''
CHECKS = """
import pytest
from pytest import mark

@pytest.mark.claim("markov.sum")
def test_sum():
    pass

@pytest.mark.parametrize("n", [2, pytest.param(3, marks=pytest.mark.claim("markov.step"))])
@mark.claim("markov.sum")
def test_step(n):
    pass
"""


@pytest.fixture
def tree(tmp_path):
    """One package whose two claims are both checked; a test then breaks one half."""
    for folder in ("packages/fp-markov/src/fp_markov", "packages/fp-markov/tests", "tests-integration"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "packages/fp-markov/src/fp_markov/chain.py").write_text(SECTION, "utf8")
    (tmp_path / "packages/fp-markov/tests/test_chain.py").write_text(CHECKS, "utf8")
    return tmp_path


def rewrite(tree, old, new, *, file="packages/fp-markov/src/fp_markov/chain.py"):
    path = tree / file
    text = path.read_text("utf8")
    assert old in text
    path.write_text(text.replace(old, new), "utf8")


def test_claims_and_checks_that_meet_are_filed_with_their_places(tree):
    book = ledger.Ledger.read(tree)
    assert book.mismatches() == []
    assert book.claims == {
        "markov.sum": ["packages/fp-markov/src/fp_markov/chain.py:4"],
        "markov.step": ["packages/fp-markov/src/fp_markov/chain.py:15"],
    }
    tests = "packages/fp-markov/tests/test_chain.py"
    assert {label: [(check.place, check.test) for check in checks] for label, checks in book.checks.items()} == {
        "markov.sum": [(f"{tests}:5", "test_sum"), (f"{tests}:10", "test_step")],
        "markov.step": [(f"{tests}:9", "test_step")],
    }


def test_a_check_shows_the_whole_test_with_its_decorators(tree):
    (check,) = ledger.Ledger.read(tree).checks["markov.step"]
    assert check.source == CHECKS.strip().rpartition("\n\n")[2]


def test_a_mark_on_a_class_or_on_no_test_shows_what_carries_it(tree):
    (tree / "tests-integration/test_more.py").write_text(
        dedent("""
            import pytest

            CASES = [
                pytest.param(2, marks=pytest.mark.claim("markov.step")),
            ]

            class TestMore:
                pytestmark = pytest.mark.claim("markov.step")

                @pytest.mark.claim("markov.step")
                def test_one(self):
                    pass
        """),
        "utf8",
    )
    _, cases, group, method = ledger.Ledger.read(tree).checks["markov.step"]
    assert (cases.test, cases.source.split("\n")[0]) == ("", "CASES = [")
    assert (group.test, group.source.split("\n")[0]) == ("TestMore", "class TestMore:")
    assert (method.test, method.source.split("\n")[-1]) == ("TestMore.test_one", "    pass")


@pytest.mark.parametrize(
    ("test", "kind"),
    [
        ("import sympy as sp\nMARK\ndef test_it():\n    sp.simplify(0)", "algebra"),
        ("MARK\ndef test_it():\n    import sympy\n    sympy.simplify(0)", "algebra"),
        ("from sympy import exp\nMARK\ndef test_it():\n    helper()\ndef helper():\n    exp(0)", "algebra"),
        ("from hypothesis import given\nMARK\n@given(n=3)\ndef test_it(n):\n    pass", "property"),
        ("import hypothesis\nMARK\n@hypothesis.given(n=3)\ndef test_it(n):\n    pass", "property"),
        ("import sympy\nMARK\ndef test_it():\n    helper()\ndef helper():\n    helper()", "cases"),
        ("import numpy\nMARK\ndef test_it():\n    'sympy'", "cases"),
    ],
)
def test_the_kind_of_a_check_is_what_its_test_computes_with(tree, test, kind):
    rewrite(tree, 'marks=pytest.mark.claim("markov.step")', "", file="packages/fp-markov/tests/test_chain.py")
    text = test.replace("MARK", '@pytest.mark.claim("markov.step")')
    (tree / "tests-integration/test_it.py").write_text(f"import pytest\n{text}\n", "utf8")
    (check,) = ledger.Ledger.read(tree).checks["markov.step"]
    assert check.kind == kind


def test_a_claim_without_a_check_is_a_mismatch(tree):
    rewrite(tree, 'marks=pytest.mark.claim("markov.step")', "", file="packages/fp-markov/tests/test_chain.py")
    (line,) = ledger.Ledger.read(tree).mismatches()
    assert line.endswith("chain.py:15: markov.step is claimed but no test checks it")


def test_a_check_without_a_claim_is_a_mismatch(tree):
    rewrite(tree, "**Claim** `markov.step`.", "")
    (line,) = ledger.Ledger.read(tree).mismatches()
    assert line.endswith("test_chain.py:9: markov.step is checked but nowhere claimed")


def test_a_label_claimed_twice_is_a_mismatch(tree):
    rewrite(tree, "`markov.step`", "`markov.sum`")
    rewrite(tree, "markov.step", "markov.sum", file="packages/fp-markov/tests/test_chain.py")
    (line,) = ledger.Ledger.read(tree).mismatches()
    assert line.endswith("chain.py:15: markov.sum is claimed more than once")


def test_a_label_of_another_stage_is_a_mismatch(tree):
    rewrite(tree, "`markov.step`", "`neural.step`")
    rewrite(tree, "markov.step", "neural.step", file="packages/fp-markov/tests/test_chain.py")
    (line,) = ledger.Ledger.read(tree).mismatches()
    assert line.endswith("chain.py:15: neural.step is claimed in a package whose labels start with markov.")


@pytest.mark.parametrize(
    "spelling", ["**Claim.** No label.", "**Claim** markov.step.", "**Claim** (step). `markov.step`"]
)
def test_a_claim_without_a_label_in_its_place_is_a_mismatch(tree, spelling):
    rewrite(tree, "**Claim** `markov.step`.", spelling)
    assert any("chain.py:15: a claim is written" in line for line in ledger.Ledger.read(tree).mismatches())


@pytest.mark.parametrize("arguments", ["LABEL", "", '"markov.sum", "markov.step"', 'label="markov.sum"'])
def test_a_mark_that_does_not_name_one_literal_label_is_a_mismatch(tree, arguments):
    rewrite(
        tree, '@mark.claim("markov.sum")', f"@mark.claim({arguments})", file="packages/fp-markov/tests/test_chain.py"
    )
    (line,) = ledger.Ledger.read(tree).mismatches()
    assert line.endswith("test_chain.py:10: a mark names one label, as a literal string")


def test_a_check_may_stand_where_stages_meet(tree):
    rewrite(tree, 'marks=pytest.mark.claim("markov.step")', "", file="packages/fp-markov/tests/test_chain.py")
    (tree / "tests-integration/test_both.py").write_text(
        'import pytest\npytestmark = pytest.mark.claim("markov.step")\n', "utf8"
    )
    assert ledger.Ledger.read(tree).mismatches() == []


def test_a_word_in_bold_or_a_comment_is_no_claim(tree):
    rewrite(tree, "A section.", "A section of **Claims** and **Claimants**.")
    rewrite(tree, "class Chain:", "# **Claim** `markov.comment`\nclass Chain:")
    assert ledger.Ledger.read(tree).mismatches() == []


def test_the_command_prints_the_table_and_fails_on_a_mismatch(tree, monkeypatch, capsys):
    monkeypatch.chdir(tree)
    assert ledger.main() == 0
    printed = capsys.readouterr().out
    assert "markov.step  packages/fp-markov/src/fp_markov/chain.py:15  checked at packages/" in printed
    assert printed.endswith("ledger: 2 claims, 3 checks, none without the other\n")
    rewrite(tree, "**Claim** `markov.step`.", "")
    assert ledger.main() == 1
    assert capsys.readouterr().out.endswith("markov.step is checked but nowhere claimed\n")


def test_a_folder_without_packages_fails_instead_of_balancing_empty(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert ledger.main() == 1
    assert "run this at the root of the repository" in capsys.readouterr().out
