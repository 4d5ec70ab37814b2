r"""
Single precision: why SentencePiece's answer depends on where a word stands.

SentencePiece adds up scores in 32 bits, from the beginning of the text to its end. The more has been added up, the
coarser the sums: behind two pages of text, scores that differ by less than a thousandth are the same to it. So one word
can be cut in two ways in one text. Whoever wants the same ids as SentencePiece has to add as it does. This section says
which words are in danger, so that only those have to be computed again.

You need: `fp_tokenize.unigram`; rounding in `fp_autograd.floating_point`.

## A word behind a sum

Let $u = 2^{-24}$, so that a sum that is not too large for 32 bits is computed as
$\operatorname{fl}(x) = x (1 + \delta)$ with $|\delta| \le u$, and $x \le y$ implies
$\operatorname{fl}(x) \le \operatorname{fl}(y)$. In front of a word the sum is $b$. Inside, every place gets

$$\hat v_0 = b, \qquad \hat v_j = \max_{(i, j)} \operatorname{fl}(\hat v_i + s_{ij}), \qquad \text{(E1)}$$

and the edge that reaches the maximum wins, among several the one that begins first. Let $V_j$ be the exact best score
from $0$ to $j$, let $|V_j| \le A$ for all $j$, and let no path have more than $d$ edges. At each place let the **gap**
be $V_j$ minus the second best $V_i + s_{ij}$ there (infinite if one edge ends at $j$).

**Claim** `tokenize.rounded-best`. Let $(d + 1)\, u < 1$ and
$\eta = \dfrac{u\, (|b| + A)}{1 - (d + 1)\, u}$. Then $|\hat v_j - (b + V_j)| \le d\, \eta$ at every place that is
reached. If the gap exceeds $2 d\, \eta$ at every place where the best segmentation stops, (E1) finds that segmentation.

**Proof.** By the choice of $\eta$, $u\, \big( |b| + A + (d + 1)\, \eta \big) = \eta$. So rounding moves a number $x$
with $|x| \le |b| + A + (d + 1)\, \eta$ by at most $\eta$. Let $d_j \le d$ be the most edges of a path to $j$; we show
$|\hat v_j - (b + V_j)| \le d_j \eta$ by induction. At $0$ both are $b$. For an edge $(i, j)$, $d_i \le d_j - 1$, so by
hypothesis $\hat v_i + s_{ij} \le b + V_i + s_{ij} + (d_j - 1)\, \eta \le b + V_j + (d_j - 1)\, \eta$. The last number
is at most $|b| + A + d\, \eta$ in size, so its rounding, which is no less than that of $\hat v_i + s_{ij}$, is at most
$b + V_j + d_j \eta$. For the edge that is best in exact arithmetic, $V_i + s_{ij} = V_j$, the same argument from below
gives $\operatorname{fl}(\hat v_i + s_{ij}) \ge b + V_j - d_j \eta$. So the maximum lies between the two.

Now let the gap at $j$ be $g > 2 d\, \eta$, and choose $g'$ with $2 d\, \eta < g' \le g$ and $g' \le 2 d\, \eta + \tau$
for a $\tau > 0$ as small as one likes. A losing edge has $\hat v_i + s_{ij} \le x = b + V_j - g' + (d - 1)\, \eta$,
where $|x| \le |b| + A + (d + 1)\, \eta + \tau$, so its rounded sum is at most $x + \eta + u \tau$. The winner's is at
least $b + V_j - d\, \eta$. The difference is at least $g' - (d - 1)\, \eta - \eta - u \tau - d\, \eta = g' - 2 d\, \eta
- u \tau$, which is positive for small $\tau$ (take $g' = 2 d\, \eta + \tau$ with $\tau \le g - 2 d\, \eta$, and $u <
1$). So at every place where the best segmentation stops, the same edge wins as in exact arithmetic, and following the
winners back gives the same path. $\blacksquare$

Read for the sum in front: with $n$ characters, $d \le n$, and if no score exceeds $S$ in size, $A \le nS$ (a path of
single characters leads to every place, so no $V_j$ is below $-nS$). The word is **safe** behind every sum with

$$|b| \le \frac{\text{gap} \cdot (1 - (n + 1)\, u)}{2 n u} - n S. \qquad \text{(E2)}$$

SentencePiece keeps $|b|$ below 100,000: where a sum has grown beyond, that sum is subtracted from the sums in use. So a
word whose bound (E2) is larger than that is safe everywhere. Nearly all words are; the others are remembered when they
are first cut, and in a text without any of them nothing more is done. Where one occurs, the sum in front of it is
computed as SentencePiece does, and if that is too large for the word, it is cut again by (E1).

>>> from fp_tokenize.unigram import UnigramTokenizer
>>> scores = {"▁": -4.0, "a": -2.0, "b": -2.0, "ab": -4.00001}  # two pieces are better than one, by little
>>> tokenizer = UnigramTokenizer([("<unk>", 0.0), *scores.items()], single_precision=True)
>>> [tokenizer.id_to_token(i) for i in tokenizer.encode("abab")]
['▁', 'a', 'b', 'a', 'b']
>>> [tokenizer.id_to_token(i) for i in tokenizer.encode("ab" * 100)[-4:]]
['ab', 'ab', 'ab', 'ab']

## In practice

This is SentencePiece 0.2.3 to the last bit. Up to version 0.2.1 it compared sums before they were rounded and never
subtracted: behind a sum of three million, after a megabyte of text, numbers of 32 bits are a quarter of a nat apart.
Hugging Face's library adds in 64 bits and by words, which is `fp_tokenize.unigram` without this section.

References: N. Higham, *Accuracy and Stability of Numerical Algorithms*, chapters 2 and 4.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, chain

import numpy as np

from fp_tokenize._viterbi import Search, Steps

__all__ = ["SinglePrecision"]  # the order of the page

U = 2.0**-24
RESET = 100_000.0  # SentencePiece's kScoreResetThreshold
ROOM = 5_000.0  # a word whose places may lie farther than this from the sum in front of it is always walked through
STRETCH = 256  # words whose scores are added up together

Group = tuple[int, ...]


class SinglePrecision:
    """
    Segmentations of words that follow each other, by sums of 32 bits.

    Parameters
    ----------
    search
        The pieces; their scores must be numbers of 32 bits.
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        self.largest = float(np.abs(search.scores).max())  # S
        self.score_of = np.zeros(int(search.labels.max()) + 2, np.float32)  # the last one, at -1, for the unknown
        self.score_of[search.labels] = search.scores
        self.unsafe: dict[str, float] = {}  # words whose bound (E2) is not above RESET, with it
        self.unknown: dict[str, Group] = {}  # words with unknown characters, with their steps

    def bound(self, word: str, gap: float) -> float:
        """The largest sum in front of a word behind which its segmentation is certain (E2)."""
        n = len(word)
        if n * self.largest > ROOM:
            return -1.0
        return gap * (1 - (n + 1) * U) / (2 * n * U) - n * self.largest

    def remember(self, words: Iterable[str], paths: Iterable[Steps], gaps: Iterable[float]) -> None:
        """Take up what is needed of some words, cut for the first time."""
        for word, path, gap in zip(words, paths, gaps, strict=True):
            if -1 in path:
                self.unknown[word] = tuple(path)
            bound = self.bound(word, gap)
            if bound <= RESET + ROOM:
                self.unsafe[word] = bound

    def corrected(
        self, words: Sequence[str], groups: Iterable[Group], spell: Callable[[str, Steps], Iterable[int]]
    ) -> Iterable[Group]:
        """
        The ids of the words of a text.

        Parameters
        ----------
        words
            The words, all of which have been remembered.
        groups
            Ids of each word for itself.
        spell
            Ids of a word from its steps.
        """
        unsafe = [k for k, word in enumerate(words) if word in self.unsafe]
        if not unsafe:
            return groups
        groups, value, k, first = list(groups), 0.0, 0, 0
        while first < len(unsafe):  # the words behind the last one are safe whatever the sum
            stop = min(k + STRETCH, unsafe[-1] + 1)
            paths = list(map(self.unknown.get, words[k:stop], groups[k:stop]))
            scores = self.score_of[list(chain.from_iterable(paths))]
            sums = np.add.accumulate(np.concatenate(([value], scores)), dtype=np.float32)
            in_front = sums[[0, *accumulate(map(len, paths))]].tolist()
            if np.abs(sums).max() > RESET - ROOM:  # a sum may be subtracted on the way
                walked: Iterable[int] = range(k, stop)
            else:
                inside = unsafe[first : bisect_left(unsafe, stop)]
                walked = [i for i in inside if abs(in_front[i - k]) > self.unsafe[words[i]]][:1]
                value = in_front[walked[0] - k] if walked else in_front[-1]
                stop = walked[0] + 1 if walked else stop
            for i in walked:
                path, value = self.walk(words[i], value)
                groups[i] = tuple(spell(words[i], path))
            k = stop
            first = bisect_left(unsafe, k)
        return groups

    def paths(self, words: Iterable[str]) -> list[Steps]:
        """The steps of the words of a text, all walked through: the reference."""
        value, paths = 0.0, []
        for word in words:
            path, value = self.walk(word, value)
            paths.append(path)
        return paths

    def walk(self, word: str, value: float) -> tuple[Steps, float]:
        """(E1) for a word behind a sum: its steps, and the sum behind it."""
        n = len(word)
        values, begins, steps = array("f", [0.0]) * (n + 1), [-1] * (n + 1), [-1] * (n + 1)
        rounded = array("f", [0.0])  # an array of 32 bits rounds what is put into it
        values[0], reached = value, 0
        for i in range(n):
            if abs(values[i]) > RESET:
                offset = values[i]
                for j in range(i, reached + 1):
                    if j == i or begins[j] >= 0:
                        values[j] -= offset
            for j, score, label in self.search.edges(word, i):
                rounded[0] = values[i] + score
                if begins[j] < 0 or rounded[0] > values[j]:
                    values[j], begins[j], steps[j] = rounded[0], i, label
                reached = max(reached, j)
        path, j = [], n
        while j:
            path.append(steps[j])
            j = begins[j]
        return path[::-1], values[n]
