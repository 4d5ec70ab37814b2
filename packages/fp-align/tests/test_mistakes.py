"""The list of mistakes is what its first line says; its examples run as doctests."""

import doctest
import re

from fp_align import mistakes

ITEMS = re.split(r"(?m)^\*\*(?=\d+\. )", mistakes.__doc__)[1:]
WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
)


def test_they_are_numbered_and_counted():
    assert [int(item.split(".")[0]) for item in ITEMS] == list(range(1, len(ITEMS) + 1))
    number = mistakes.__doc__.split()[2]
    assert WORDS.split().index(number) == len(ITEMS) >= 8


def test_each_has_an_example_that_shows_something():
    for item in ITEMS:
        examples = doctest.DocTestParser().get_examples(item)
        assert any(example.want for example in examples), item.splitlines()[0]


def test_each_names_its_mistake_in_a_few_words():
    for item in ITEMS:
        title = item.split("**")[0]
        assert re.fullmatch(r"\d+\. [A-Z][^.]{3,60}\.", title), title
