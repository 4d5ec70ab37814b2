"""Mirrors src/fp_tokenize/mistakes.py: each example is a doctest there; here it is counted."""

import re

from fp_tokenize import mistakes


def test_there_are_as_many_examples_as_the_title_says():
    numbers = [int(n) for n in re.findall(r"^\*\*(\d+)\. ", mistakes.__doc__, re.MULTILINE)]
    assert numbers == list(range(1, 15))
    assert "fourteen" in mistakes.__doc__
