"""Mirrors src/fp_align/task.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_align.task import Judge, beginnings, clauses, default_text, read_lines, read_text, verdicts, write_lines

JUDGE = Judge({"cat", "sat", "on", "a", "mat", "there"})
PIECES = st.lists(st.sampled_from(["cat ", "mat", "zz ", "e", "there ", ".", ".\n", "\n", ", "]), max_size=12)


@pytest.mark.claim("align.gold-bounds")
@given(PIECES)
def test_the_gold_reward_is_at_most_four_and_four_only_for_what_is_wanted(pieces):
    response = "".join(pieces)
    letters = [c for c in response if c.isalpha()]
    words = "".join(c if c.isalpha() else " " for c in response).split()
    wanted = (
        response.endswith(".\n")
        and len(letters) >= 20
        and "e" not in letters
        and all(word in JUDGE.words for word in words)
    )
    reward = JUDGE(response)
    assert -10 <= reward <= 4
    assert (reward == 4) == wanted


@pytest.mark.claim("align.gold-bounds")
def test_the_bounds_are_reached():
    assert JUDGE("a cat sat on a mat on a cat a.\n") == 4
    assert Judge({"a"})("eee") == -10


@pytest.mark.parametrize(
    ("response", "reward"),
    [
        ("", 0), (".\n", 2), ("cat", 2 * 3 / 20), ("cat.", 2 * 3 / 20), ("CAT.\n", 2 + 2 * 3 / 20),
        ("there", 2 * 5 / 20 - 10 * 2 / 5), ("zz", 0), ("zz cat", 2 * 3 / 20), ("E", -10),
    ],
)  # fmt: skip
def test_rewards_worked_by_hand(response, reward):
    assert JUDGE(response) == pytest.approx(reward, abs=1e-12)  # rounding of three terms


def test_clauses_end_with_a_mark_and_fit_into_a_line():
    text = (
        "The first clause is short, the second one is not because it goes on and on and on. A third one ends;\n\nhere"
    )
    assert clauses(text) == [("The first ", "clause is short,\n")]
    assert beginnings(text) == ["The first ", "the second "]  # `ends;` has five characters


def test_the_default_text_gives_enough_of_both():
    train, held_out = default_text()
    assert len(clauses(train)) > 1000 and len(beginnings(held_out)) > 300
    assert not set(train.split("\n\n")[:-1]) & set(held_out.split("\n\n")[:-1])


def test_a_file_is_cut_at_nine_tenths(tmp_path):
    (tmp_path / "text").write_text("0123456789" * 3)
    assert read_text(tmp_path / "text") == (("0123456789" * 3)[:27], "789")


def test_verdicts_follow_the_rewards():
    n = 4000
    found = verdicts(["x "] * n, ["one"] * n, ["other"] * n, {"one": 1.0, "other": 0.0}.get, np.random.default_rng(0))
    share = np.mean([v["chosen"] == "one" for v in found])
    # four standard deviations of a share of 4000
    assert abs(share - 1 / (1 + np.exp(-1))) < 4 * np.sqrt(0.2 / n)
    assert all({v["chosen"], v["rejected"]} == {"one", "other"} for v in found)


def test_lines_are_written_and_read_again(tmp_path):
    rows = [{"prompt": "a\n", "response": 'é"'}, {"prompt": "b", "response": "c"}]
    write_lines(tmp_path / "x.jsonl", rows)
    assert read_lines(tmp_path / "x.jsonl", ("prompt", "response")) == rows
    assert [p.name for p in tmp_path.iterdir()] == ["x.jsonl"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is empty"), ("\n\n", "is empty"), ("{", "line 1 .* is no JSON"), ("[1]", "line 1 .*it is \\[1\\]"),
        ('{"prompt": "a"}\n{"prompt": ""}', "line 2 .*lacks prompt"), ('{"prompt": 3}', "lacks prompt"),
    ],
)  # fmt: skip
def test_files_that_hold_no_data_are_refused(tmp_path, content, sentence):
    (tmp_path / "x.jsonl").write_text(content)
    with pytest.raises(ValueError, match=sentence):
        read_lines(tmp_path / "x.jsonl", ("prompt",))


def test_texts_that_are_none_are_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"\xff\xfe")
    for read in (read_text, lambda path: read_lines(path, ("prompt",))):
        with pytest.raises(ValueError, match="no UTF-8"):
            read(tmp_path / "x")
    (tmp_path / "x").write_text(" \n")
    with pytest.raises(ValueError, match="no text"):
        read_text(tmp_path / "x")
    with pytest.raises(ValueError, match="at least one word"):
        Judge([])
