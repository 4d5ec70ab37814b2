r"""
LinMaxMatch: the longest match in linear time.

Greedy matching tries every end of every token. A trie tries them all in one walk, but after a walk that led too far it
has to go back and read the same characters again. This section removes the going back: for each node of the trie it is
known beforehand which tokens must come off, and at which node to read on.

You need: `fp_tokenize.wordpiece`.

## The problem

Let $S$ be the strings that a word's first token can be and $C$ those that a later one can be (without their prefix),
all of at least one character. To match greedily is to take the longest string of $S$ that the word begins with, then
the longest of $C$ that the rest begins with, and so on to the end; if nothing fits, the word is unknown. From here on,
$G_S(x)$ and $G_C(x)$ stand for the list of tokens taken from $x$, if the first is sought in $S$ or in $C$:

$$
\begin{aligned}
G_K(x) &= t\, G_C(y), \qquad x = ty,\ t \text{ the longest string of } K \text{ with which } x \text{ begins}; \\
G_C(\text{empty}) &= \text{the empty list}.
\end{aligned} \qquad \text{(E1)}
$$

Draw $S$ and $C$ as two **tries**: trees with a character on each edge, in which the strings that begin some string of
the set, the set's own included, are the nodes. We write $v$ for the node and for its string, and $|v|$ for its length.
The roots are the empty string. Say that a string is *in* a trie if it is a node of it.

**Claim** `tokenize.outside-the-trie`. If $y$ is not in the trie of $K$, then for every $x$ the longest string of $K$
with which $yx$ begins is the longest with which $y$ begins; either exists if the other does.

**Proof.** A string of $K$ with which $yx$ begins is either shorter than $y$, and then $y$ begins with it too, or it
begins with $y$, which would then be in the trie. $\blacksquare$

## What has to come off

Suppose the text that is still to be matched begins with node $v$, and goes on with $x$ such that no edge leads on: $x$
is empty, or $vc$ is not in the trie, where $c$ is the first character of $x$. What is certain, whatever else $x$ may
be? Take these **failure pops** off $v$:

1. the longest string of $v$'s own set with which $v$ begins;
2. from what is left of $v$, the longest string of $C$ with which it begins, and so on, as long as what is left is not
   in the trie of $C$.

Let $F(v)$ be the list of what came off and let the **failure link** $f(v)$ be what is left, a node of the trie of $C$.
If a step finds nothing to take, $f(v)$ does not exist. It exists for no root.

**Claim** `tokenize.failure-pops`. Let $v$ be a node of the trie of $K$, not a root, and let $x$ be empty or let $vc$
not be in the trie, $c$ the first character of $x$. If $f(v)$ exists, $G_K(vx) = F(v)\, G_C(f(v)\, x)$. Otherwise the
word is unknown. At a root where $x$ is not empty and $c$ not in the trie, the word is unknown too.

**Proof.** The longest string of $K$ with which $vx$ begins is the longest with which $v$ begins: if $x$ is empty they
are the same, and otherwise by the last claim, used on $y = vc$, it is the longest with which $vc$ begins, which is not
$vc$ itself. So the first pop is what greedy matching takes, and if there is none, the word is unknown; at a root there
is none. Let $z$ be what is left of $v$ after some pops. If $z$ is in the trie of $C$, we are at $f(v)$, and greedy
matching goes on with $G_C(f(v)\, x)$. If not, the last claim with $y = z$ says that the longest string of $C$ with
which $zx$ begins is the longest with which $z$ begins: again what the next pop takes, and if there is none, greedy
matching finds nothing either. Each pop makes $z$ shorter, and the empty string is in the trie, so this ends.
$\blacksquare$

## Matching

Read the word from the root of $S$. Where an edge leads on, follow it. Where none does, take off $F(v)$, go to $f(v)$
and try the same character again. At the end of the word take off what is left in the same way. An example, with its
nodes (##: in the trie of $C$), what comes off at each, and where it goes on:

>>> starts, continuations = {"a": 0, "abcd": 1}, {"b": 2, "bc": 3, "cde": 4, "d": 5}
>>> matcher = LinMaxMatch(starts, continuations)
>>> string = ["", "##"] + [""] * (len(matcher.edges) - 2)
>>> for node, edges in enumerate(matcher.edges):  # parents come before children
...     for character, child in edges.items():
...         string[child] = string[node] + character
>>> for node, link in enumerate(matcher.links):
...     if link is not None:
...         print(f"{string[node]!r:8}{unrolled(matcher.pops[node])!s:6}{string[link]!r}")
'a'     [0]   '##'
'ab'    [0]   '##b'
'abc'   [0]   '##bc'
'abcd'  [1]   '##'
'##b'   [2]   '##'
'##bc'  [3]   '##'
'##cde' [4]   '##'
'##d'   [5]   '##'

At `##c` and `##cd` nothing can come off, since c is no token. The word abce is followed to abc, goes on from `##bc`
and then from the root of $C$, and is unknown; no character has been read again but e.

>>> matcher.cut(["abcd", "abcdd", "abcbd", "abce"], unknown=9)
[[1], [1, 5], [0, 3, 2, 5], [9]]

**Claim** `tokenize.linmaxmatch`. `LinMaxMatch.cut` gives each word $w$ of at least one character its tokens $G_S(w)$,
or the unknown one if there are none.

**Proof.** Let $w = ux$ where $u$ has been read, and let $T$ be the tokens taken so far. We show that at each moment,
with $v$ the node and $K$ its set, $u$ ends with $v$ and $G_S(w) = T\, G_K(vx)$. At the beginning $T$, $u$ and $v$ are
empty and $K = S$. To follow an edge moves a character from $x$ to $v$ and leaves $vx$ as it is. To fail turns $T$ into
$T F(v)$ and $v$ into $f(v)$, with which $v$ and so $u$ end, and the equation stays true by `tokenize.failure-pops`; its
hypothesis on $x$ is what makes the loop fail. If there is no $f(v)$, by the same claim the word is unknown. The loop
ends, by the next claim, where $x$ is empty and $v$ is the root of $C$: $G_S(w) = T\, G_C(\text{empty}) = T$. A word
that is a string of $S$ is its own longest match, so the code looks for it first. $\blacksquare$

**Claim** `tokenize.linmaxmatch-linear`. A word of $n$ characters takes at most $n$ steps along edges and $n$ along
links, whatever the vocabulary.

**Proof.** Each step along an edge reads a character, for good. Each step along a link takes at least one token off; the
tokens taken are parts of the word that do not overlap, and each has at least one character. $\blacksquare$

Let `##a` and `##aa…ax` with $m$ characters be tokens and the word be a's only. Greedy matching tries $m$ ends at each
place (`tokenize.greedy-cost`). Look-ups for each character of the word, by greed and here:

>>> from fp_tokenize.wordpiece import cut_greedily
>>> class Counting(dict):
...     looked = 0
...
...     def __contains__(self, key):
...         Counting.looked += 1
...         return dict.__contains__(self, key)
...
...     def get(self, key):
...         return self[key] if key in self else None
>>> def looked(m, n):
...     long = "a" * (m - 1) + "x"
...     vocabulary, Counting.looked = Counting({"a": 1, "##a": 2, "##" + long: 3}), 0
...     _ = cut_greedily("a" * n, vocabulary, longest=m)
...     matcher = LinMaxMatch({"a": 1}, {"a": 2, long: 3})
...     matcher.edges = [Counting(edges) for edges in matcher.edges]
...     greedy, Counting.looked = Counting.looked, 0
...     _ = matcher.cut(["a" * n], unknown=0)
...     return round(greedy / n), round(Counting.looked / n)
>>> looked(50, 4000), looked(200, 4000), looked(200, 8000)
((50, 2), (195, 2), (198, 2))

## Pops and links beforehand

The procedure that defines $F(v)$ and $f(v)$ can be run for each node, but most of it has been done for the node before.

**Claim** `tokenize.failure-recursion`. Let $v = uc$ be a node of the trie of $K$. If $v \in K$, then $F(v)$ is $v$
alone and $f(v)$ the root of $C$. Otherwise let $z_1 = f(u)$, $z_2 = f(z_1)$ and so on, as far as they exist, and let
$z_j$ be the first of them for which $z_j c$ is in the trie of $C$. Then

$$F(v) = F(u)\, F(z_1) \cdots F(z_{j-1}), \qquad f(v) = z_j c. \qquad \text{(E2)}$$

If there is no such $z_j$, there is no $f(v)$.

**Proof.** If $v \in K$, the first pop is $v$ and leaves the empty string. Let $v \notin K$. Compare the procedure for
$u$ with that for $v = uc$. The strings of $K$ with which $v$ begins are those with which $u$ begins, so the first pops
agree, or both fail. After a pop let $z$ be left of $u$ and $zc$ of $v$. If $z$ is not in the trie of $C$, then neither
is $zc$, and by `tokenize.outside-the-trie` the next pops agree, or both fail. So as long as the procedure for $u$ runs,
that for $v$ takes the same pops; if it fails at $u$, it fails at $v$. It ends for $u$ with $F(u)$ taken and $z_1$ left,
and then $z_1 c$ is left of $v$. If that is in the trie of $C$, the procedure for $v$ ends too. If not, it takes the
longest string of $C$ with which $z_1 c$ begins, which is the longest with which $z_1$ begins, as $z_1 c$ itself is not
in $C$: what the procedure for $z_1$ takes first, and from there on the same comparison holds with $z_1$ in place of
$u$. It adds $F(z_1)$ and leaves $z_2 c$, and so on. If some $z_i$ has no link, the procedure fails at $z_i$ and so at
$v$. As each $z_i$ is shorter than the one before, one of these ends is reached. $\blacksquare$

$z_1$ is shorter than $u$, so the nodes are visited from short to long and find what they need.

**Claim** `tokenize.failure-cost`. For all nodes together, (E2) takes no more steps along links, and adds no more tokens
to $F(u)$, than the strings of $S$ and $C$ have characters together.

**Proof.** Let $p(v) = |v| - |f(v)|$ be the number of characters that come off at $v$, and $p(v) = |v|$ if there is no
link. Let $v = uc$, let $s$ be the number of steps taken for $v$ from $z_1$ on, and $q$ the number of tokens added. Each
step adds at least one token and each token has at least one character of $z_1 = f(u)$, so $s \le q \le |f(u)| - |z|$,
where $z$ is the last $z_i$ reached. If $f(v) = zc$, then $p(v) = |u| - |z| = p(u) + |f(u)| - |z| \ge p(u) + q$. If
there is no $f(v)$ though $f(u)$ exists, $p(v) > |u| = p(u) + |f(u)| \ge p(u) + q$. In the remaining cases, $v \in K$ or
no $f(u)$, nothing is done and $p(v) = |u| + 1 > p(u)$. So on the way down to a string of $S$ or $C$ the steps and the
tokens add up to at most the $p$ at its end, which is at most its length, and every node is on such a way.
$\blacksquare$

For the tokens' bound to be one for memory, $F(v)$ must not be a copy of $F(u)$: it is kept as a chain, each link of
which holds the rest and one token.

## In practice

The method is that of X. Song, A. Salcianu, Y. Song, D. Dopson and D. Zhou, "Fast WordPiece Tokenization", 2021, which
TensorFlow Text implements; it is to greedy matching what the automaton of Aho and Corasick is to searching for many
strings at once. Theirs is one trie in which the prefix `##` leads to the strings of $C$; two roots spare the special
case of words that begin with the prefix. They also find the words in the same pass, by nodes for spaces and
punctuation. In Python, a step through the trie costs about as much as one look-up of a substring, so words of which few
substrings have to be tried gain nothing; those that fall into many tokens gain most.
"""

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["LinMaxMatch", "unrolled"]  # the order of the page

START, CONTINUE = 0, 1  # the roots
NO_EDGES: dict[str, int] = {}  # of all leaves

Chain = tuple[Any, int]  # the chain of what comes before, or None, and one token


class LinMaxMatch:
    """
    Longest matches by a trie with failure links and pops.

    Parameters
    ----------
    starts
        Ids of the strings that a word's first token can be, S.
    continuations
        Ids of those that a later one can be, C. Empty strings are left out of both.

    Attributes
    ----------
    edges
        For each node, the children by character; nodes 0 and 1 are the roots of S and C, parents come before children.
    links
        For each node its failure link, `None` where there is none.
    pops
        For each node with a link what comes off, as a chain; see `unrolled`.

    Examples
    --------
    >>> LinMaxMatch({"un": 3, "unh": 4}, {"happy": 5}).cut(["un", "unhappy"], unknown=0)
    [[3], [0]]
    """

    def __init__(self, starts: Mapping[str, int], continuations: Mapping[str, int]) -> None:
        self.starts = {string: token for string, token in starts.items() if string}
        self.edges: list[dict[str, int]] = [NO_EDGES, NO_EDGES]
        tokens: dict[int, int] = {}  # ids of the nodes that are tokens
        for root, strings in ((START, starts), (CONTINUE, continuations)):
            for string, token in strings.items():
                if string:
                    tokens[self._node(root, string)] = token
        self.links: list[int | None] = [None] * len(self.edges)
        self.pops: list[Chain | None] = [None] * len(self.edges)
        level = [START, CONTINUE]
        while level:
            level = [self._link(u, c, v, tokens) for u in level for c, v in self.edges[u].items()]

    def _node(self, node: int, string: str) -> int:
        """The node of a string, made if need be."""
        for character in string:
            edges = self.edges[node]
            child = edges.get(character)
            if child is None:
                if edges is NO_EDGES:
                    edges = self.edges[node] = {}
                child = edges[character] = len(self.edges)
                self.edges.append(NO_EDGES)
            node = child
        return node

    def _link(self, u: int, c: str, v: int, tokens: dict[int, int]) -> int:
        """Set the link and the pops of `v`, the child of `u` by `c`, by `tokenize.failure-recursion`; returns `v`."""
        if v in tokens:
            self.links[v], self.pops[v] = CONTINUE, (None, tokens[v])
            return v
        z, taken = self.links[u], self.pops[u]
        while z is not None and c not in self.edges[z]:
            for token in unrolled(self.pops[z]):
                taken = taken, token
            z = self.links[z]
        if z is not None:
            self.links[v], self.pops[v] = self.edges[z][c], taken
        return v

    def cut(self, words: Iterable[str], unknown: int) -> list[list[int]]:
        """
        The tokens of some words.

        Parameters
        ----------
        words
            Words; an empty one cannot be matched.
        unknown
            The id for a word that cannot be matched.

        Returns
        -------
        list of list of int
            For each word the ids of its longest matches (E1), or the unknown one.
        """
        whole, edges, links, pops = self.starts.get, self.edges, self.links, self.pops
        result: list[list[int]] = []
        for word in words:
            token = whole(word)
            if token is not None:
                result.append([token])
                continue
            tokens: list[int] = []
            node: int | None = START
            for character in word:
                while node is not None and (child := edges[node].get(character)) is None:
                    if (chain := pops[node]) is not None:
                        if chain[0] is not None:
                            tokens += unrolled(chain[0])
                        tokens.append(chain[1])
                    node = links[node]
                if node is None:
                    break
                node = child
            while node is not None and node != CONTINUE:
                tokens += unrolled(pops[node])
                node = links[node]
            result.append([unknown] if node is None else tokens)
        return result


def unrolled(chain: Chain | None) -> list[int]:
    """
    The tokens of a chain, in order.

    Examples
    --------
    >>> unrolled(((None, 5), 7)), unrolled(None)
    ([5, 7], [])
    """
    tokens: list[int] = []
    while chain:
        chain, token = chain
        tokens.append(token)
    return tokens[::-1]
