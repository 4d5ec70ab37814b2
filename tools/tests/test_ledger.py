"""Mirrors src/fp_workbook/ledger.py: each kind of mismatch, on a small tree made for it."""

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

@pytest.mark.parametrize("n", [2, pytest.param(3, marks=pytest.mark.skip)])
@pytest.mark.claim("markov.step")
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


def write_tests(tree, text, *, name="test_more.py"):
    (tree / "tests-integration" / name).write_text(f"import pytest\n{text}\n", "utf8")


def test_claims_and_checks_that_meet_are_filed_with_their_places(tree):
    book = ledger.Ledger.read(tree)
    assert book.mismatches() == []
    assert book.claims == {
        "markov.sum": ["packages/fp-markov/src/fp_markov/chain.py:4"],
        "markov.step": ["packages/fp-markov/src/fp_markov/chain.py:15"],
    }
    tests = "packages/fp-markov/tests/test_chain.py"
    assert {label: [(check.place, check.test) for check in checks] for label, checks in book.checks.items()} == {
        "markov.sum": [(f"{tests}:5", "test_sum"), (f"{tests}:11", "test_step")],
        "markov.step": [(f"{tests}:10", "test_step")],
    }


def test_a_check_shows_the_whole_test_with_its_decorators(tree):
    (check,) = ledger.Ledger.read(tree).checks["markov.step"]
    assert check.source == CHECKS.strip().rpartition("\n\n")[2]


STEP = '@pytest.mark.claim("markov.step")'


def test_a_check_may_be_a_method_of_a_class_of_tests(tree):
    write_tests(
        tree, f"class TestMore:\n    class TestStep:\n        {STEP}\n        def test_one(self):\n            pass"
    )
    _, method = ledger.Ledger.read(tree).checks["markov.step"]
    assert method.test == "TestMore.TestStep.test_one"
    assert method.source == f"{STEP}\ndef test_one(self):\n    pass"


@pytest.mark.parametrize(
    "test",
    [
        "MARK\ndef helper():\n    pass",
        "MARK\ndef fixture_test_it():\n    pass",
        "MARK\n@pytest.mark.skip\ndef test_it():\n    pass",
        "@pytest.mark.skip(reason='later')\nMARK\ndef test_it():\n    pass",
        "pytestmark = pytest.mark.skip(reason='later')\nMARK\ndef test_it():\n    pass",
        "pytestmark = [pytest.mark.slow, pytest.mark.skip]\nMARK\ndef test_it():\n    pass",
        "@pytest.mark.skip\nclass TestIt:\n    MARK\n    def test_it(self):\n        pass",
        "class TestIt:\n    pytestmark = pytest.mark.skip\n    MARK\n    def test_it(self):\n        pass",
        "class Cases:\n    MARK\n    def test_it(self):\n        pass",
        "def test_it():\n    CALL",
        "def test_it():\n    MARK\n    def test_within():\n        pass",
        "MARK\nclass TestIt:\n    def test_it(self):\n        pass",
        "pytestmark = CALL",
        "@pytest.mark.parametrize('n', [pytest.param(2, marks=CALL)])\ndef test_it(n):\n    pass",
    ],
)
def test_a_mark_on_what_never_runs_as_a_test_checks_nothing(tree, test):
    write_tests(tree, test.replace("MARK", STEP).replace("CALL", STEP[1:]))
    book = ledger.Ledger.read(tree)
    assert len(book.checks["markov.step"]) == 1, "the one of the tree"
    (line,) = book.mismatches()
    assert line.startswith("tests-integration/test_more.py:")
    assert line.endswith(": a mark stands above a test that runs: def test_… in test_….py, not skipped")


def test_a_mark_in_a_file_that_holds_no_tests_checks_nothing(tree):
    write_tests(tree, f"{STEP}\ndef test_it():\n    pass", name="conftest.py")
    (line,) = ledger.Ledger.read(tree).mismatches()
    assert line.startswith("tests-integration/conftest.py:2: a mark stands above a test that runs")


@pytest.mark.parametrize(
    "also",
    [
        "@pytest.mark.skipif(sys.platform == 'win32', reason='no such call')",
        "@pytest.mark.parametrize('n', [pytest.param(1, marks=pytest.mark.skip), 2])",
        "@pytest.mark.slow",
    ],
)
def test_a_test_that_is_skipped_here_or_there_checks(tree, also):
    write_tests(tree, f"{STEP}\n{also}\ndef test_it(n=1):\n    pass")
    book = ledger.Ledger.read(tree)
    assert (len(book.checks["markov.step"]), book.mismatches()) == (2, [])


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
    rewrite(tree, '@pytest.mark.claim("markov.step")\n', "", file="packages/fp-markov/tests/test_chain.py")
    text = test.replace("MARK", STEP)
    write_tests(tree, text)
    (check,) = ledger.Ledger.read(tree).checks["markov.step"]
    assert check.kind == kind


def test_a_claim_without_a_check_is_a_mismatch(tree):
    rewrite(tree, '@pytest.mark.claim("markov.step")\n', "", file="packages/fp-markov/tests/test_chain.py")
    (line,) = ledger.Ledger.read(tree).mismatches()
    assert line.endswith("chain.py:15: markov.step is claimed but no test checks it")


def test_a_check_without_a_claim_is_a_mismatch(tree):
    rewrite(tree, "**Claim** `markov.step`.", "")
    (line,) = ledger.Ledger.read(tree).mismatches()
    assert line.endswith("test_chain.py:10: markov.step is checked but nowhere claimed")


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
    "spelling",
    [
        "**Claim.** No label.",
        "**Claim** markov.step.",
        "**Claim** (step). `markov.step`",
        "**claim** `markov.step`.",
        "**CLAIM** `markov.step`.",
        "__Claim__ `markov.step`.",
    ],
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
    assert line.endswith("test_chain.py:11: a mark names one label, as a literal string")


def test_a_check_may_stand_where_stages_meet(tree):
    rewrite(tree, '@pytest.mark.claim("markov.step")\n', "", file="packages/fp-markov/tests/test_chain.py")
    write_tests(tree, f"{STEP}\ndef test_both():\n    pass")
    assert ledger.Ledger.read(tree).mismatches() == []


def test_a_word_in_bold_or_a_comment_is_no_claim(tree):
    rewrite(tree, "A section.", "A section of **Claims**, **claims** and **Claimants**.")
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
