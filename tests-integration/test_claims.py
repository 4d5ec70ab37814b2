"""Every claim of the book has a check, and every check a claim."""

from pathlib import Path

from fp_workbook.ledger import Ledger

ROOT = Path(__file__).parents[1]


def test_every_claim_is_checked_and_every_check_has_its_claim():
    ledger = Ledger.read(ROOT)
    assert ledger.mismatches() == []
    assert ledger.claims, "a ledger without a claim balances too, and says nothing"
