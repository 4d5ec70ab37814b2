"""Stage 10 beside the capstone, on which it may not depend."""

from fp_align.task import default_text
from fp_capstone.corpus import load_corpus


def test_the_alignment_task_splits_the_default_text_as_the_capstone_does():
    corpus = load_corpus(None)
    assert default_text() == (corpus.train, corpus.held_out)
