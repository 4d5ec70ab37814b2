r"""
WordPiece: the longest match first.

A vocabulary is given; how is a word cut with it? WordPiece, the tokenizer of BERT, is greedy: it takes the longest
token with which the word begins, then the longest with which the rest begins. This section says what that guarantees,
what it costs, and where it fails although there was a way.

You need: `fp_tokenize.pipeline`, `fp_tokenize.wordpiece_training`.

## Longest match first

A token whose name begins with the prefix `##` continues a word: its string is what follows the prefix. Let $S$ be the
names of all tokens but the special ones and the unknown one, and $C$ the strings of those that continue. Of the word
$w_1 \dots w_n$ let the characters before position $i$ be done. The next token ends at

$$
e(i) = \max \{\, j \mid i \le j \le n,\ w_i \dots w_j \in K \,\}, \qquad K = S \text{ if } i = 1, \text{ else } C,
\qquad \text{(E1)}
$$

and the one after it begins at $e(i) + 1$. If the set is empty, the *whole word* becomes the unknown token `[UNK]`, and
so does a word of more than `max_word` characters.

**Claim** `tokenize.greedy-cost`. To try the ends from the longest down takes at most $n (n + 1) / 2$ look-ups. If no
token has more than $m \le n$ characters and longer ones are not tried, it takes at most $nm - m (m - 1) / 2$. Some
vocabularies and words take as many.

**Proof.** The tokens begin at different positions $i$. At each there are $n - i + 1$ ends, of which at most $m$ can be
the end of a token. The first numbers add up to $n + (n - 1) + \dots + 1 = n (n + 1) / 2$. With the limit, all
positions but the last $m - 1$ have at most $m$ ends and those have $m - 1, \dots, 1$, together
$(n - m + 1)\, m + m (m - 1) / 2 = nm - m (m - 1) / 2$. If the word is $n$ a's, and `a` and `##a` are the only tokens
made of a's, a token begins at every position and all ends are tried. $\blacksquare$

Each look-up hashes the substring besides. `fp_tokenize.linmaxmatch` needs $2n$ steps whatever the vocabulary.

## What greed misses

The longest beginning may leave a rest that cannot be cut. Then a cut exists and is not found:

>>> cut_greedily("unhappy", {"un", "unh", "##happy"})
['[UNK]']

Or the rest falls into more tokens than need be:

>>> cut_greedily("abcde", {"ab", "abc", "##cde", "##d", "##e"})
['abc', '##d', '##e']

**Claim** `tokenize.greedy-incomplete`. Neither is the greedy cut found whenever there is a cut, nor has it the fewest
tokens.

**Proof.** The two examples: un + ##happy and ab + ##cde. $\blacksquare$

For the first fault there is a cure, and `train_wordpiece` applies it:

**Claim** `tokenize.wordpiece-coverage`. If each character of an alphabet is in $S$ and in $C$, no word of at most
`max_word` characters over the alphabet is unknown. A word with a character that is in no token is.

**Proof.** At every position $i$ the set in (E1) contains $j = i$. Each token is at least one character of the word, so
the end is reached. Second, each character of a word that is cut is in one of its tokens. $\blacksquare$

The cut at encoding need not be the one that training arrived at. Here the first merge makes `##bc`, so that training
ends with a + ##bc, but greed looks from the left:

>>> names = train_wordpiece({"xbc": 9, "ab": 5, "abc": 1}, 12, rule="count")
>>> names[9:], cut_greedily("abc", names)
(['##bc', 'xbc', 'ab'], ['ab', '##c'])

## Back to text

**Claim** `tokenize.wordpiece-decode`. If no word of a text is unknown or begins with the prefix, and the text is
encoded with `special="text"`, `decode` gives its words, joined by single spaces.

**Proof.** A name that does not begin with the prefix contributes a space and itself, one that does contributes its
string. The name of a word's first token is a beginning of the word, so it does not begin with the prefix. The others
contribute their strings, and together with the first they are the word. So each word contributes a space and itself,
and the leading space of the whole is dropped. $\blacksquare$

What the normaliser changed and how many spaces stood between the words is lost; so is an unknown word:

>>> tokenizer = WordPieceTokenizer.train(["He said: hug the pug, hug it!"], 80)
>>> tokenizer.decode(tokenizer.encode("He  hugs the PUG!")), tokenizer.decode(tokenizer.encode("hug xylophones"))
('he hugs the pug !', 'hug \ufffd')

## In practice

BERT's own vocabulary has 30,522 names and both forms of nearly every character; most unknown words are in scripts that
it does not cover. Hugging Face's library cuts by (E1), with at most 100 characters a word; ids and offsets of this
class are the same, as tests show on random texts and in a dozen languages, but for characters that are younger than
that library's tables for BERT. Its decoder also removes the spaces before punctuation, by rules for English.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate

from fp_tokenize.frame import check_text
from fp_tokenize.linmaxmatch import LinMaxMatch
from fp_tokenize.normalize import Normalizer
from fp_tokenize.pipeline import SubwordTokenizer
from fp_tokenize.pretokenize import BERT, Pretokenizer
from fp_tokenize.special import AddedToken, Template
from fp_tokenize.wordpiece_training import train_wordpiece
from fp_tokenize.words import count_words

__all__ = ["cut_greedily", "WordPieceTokenizer"]  # the order of the page

MANY = 1 << 24  # a file with larger ids would fill the memory


def cut_greedily(
    word: str, vocabulary: Collection[str], *, prefix: str = "##", unknown: str = "[UNK]", longest: int | None = None
) -> list[str]:
    """
    The names of a word's tokens, the longest match first (E1).

    Parameters
    ----------
    word
        Any word.
    vocabulary
        Names of tokens.
    prefix
        What names begin with that continue a word.
    unknown
        What a word becomes that cannot be cut.
    longest
        Ends further away than so many characters are not tried; `None` tries all.

    Examples
    --------
    >>> cut_greedily("hugging", {"hug", "hu", "##g", "##ing"})
    ['hug', '##g', '##ing']
    """
    names: list[str] = []
    start = 0
    while start < len(word):
        furthest = len(word) if longest is None else min(len(word), start + longest)
        for end in range(furthest, start, -1):
            name = (prefix if start else "") + word[start:end]
            if name in vocabulary:
                break
        else:
            return [unknown]
        names.append(name)
        start = end
    return names


class WordPieceTokenizer(SubwordTokenizer):
    """
    BERT's tokenizer: words cut by the longest match first.

    Parameters
    ----------
    vocabulary
        Names in the order of their ids, or ids by name.
    unknown
        Name of the token for words that cannot be cut.
    prefix
        What names begin with that continue a word.
    max_word
        Longer words are unknown.
    normalizer, pretokenizer
        What is done to the text first; BERT's by default.
    special_tokens, template
        See `fp_tokenize.frame.Frame`.

    Raises
    ------
    ValueError
        If the unknown token is not in the vocabulary, a name occurs twice, two names have one id, an id is negative or
        absurdly large, or `max_word` is below 1.

    Examples
    --------
    >>> tokenizer = WordPieceTokenizer(["[UNK]", "un", "##happ", "##y", "!"])
    >>> tokenizer.encode("Unhappy! Sad"), tokenizer.offsets("Unhappy! Sad")
    ([1, 2, 3, 4, 0], [(0, 2), (2, 6), (6, 7), (7, 8), (9, 12)])
    """

    def __init__(
        self,
        vocabulary: Mapping[str, int] | Sequence[str],
        *,
        unknown: str = "[UNK]",
        prefix: str = "##",
        max_word: int = 100,
        normalizer: Normalizer | None = None,
        pretokenizer: Pretokenizer | None = None,
        special_tokens: Iterable[str | AddedToken] = (),
        template: Template | None = None,
    ) -> None:
        names = _names(vocabulary)
        if unknown not in names:
            raise ValueError(
                f"words that cannot be cut become {unknown!r}, which is not among the {len(names)} tokens. "
                "Add it, or say with unknown= which token it is."
            )
        if max_word < 1:
            raise ValueError(f"max_word must be at least 1, got {max_word}")
        self.prefix, self.max_word = prefix, max_word
        self._unknown = names.index(unknown)
        contributions = [b"" if name is None else self._contribution(name) for name in names]
        contributions[self._unknown] = " \ufffd".encode()
        super().__init__(
            names,
            contributions,
            normalizer=Normalizer.named("bert") if normalizer is None else normalizer,
            pretokenizer=BERT if pretokenizer is None else pretokenizer,
            special_tokens=special_tokens,
            template=template,
            drop_space=True,
            unknown=self._unknown,
        )

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        special_tokens: Sequence[str] = ("[UNK]",),
        *,
        unknown: str = "[UNK]",
        prefix: str = "##",
        max_word: int = 100,
        rule: str = "gain",
        limit_alphabet: int | None = None,
        min_count: int = 1,
        normalizer: Normalizer | None = None,
        pretokenizer: Pretokenizer | None = None,
        template: Template | None = None,
        processes: int = 1,
        progress: Callable[[int, int], None] | None = None,
    ) -> "WordPieceTokenizer":
        """
        The tokenizer of some texts; see `fp_tokenize.wordpiece_training.train_wordpiece`.

        Parameters
        ----------
        texts
            Any number of texts, read once.
        vocab_size
            How many tokens to stop at.
        special_tokens
            Names that get the first ids. The unknown token is put before them if it is not among them.
        unknown, prefix, max_word, normalizer, pretokenizer, template
            As for the class.
        rule, limit_alphabet, min_count
            As for `train_wordpiece`.
        processes
            How many to count words with.
        progress
            Called with the number of tokens so far and `vocab_size`.

        Raises
        ------
        ValueError
            If the texts have no words, or the vocabulary is too small for their alphabet.
        """
        if isinstance(special_tokens, str):
            raise TypeError(f"special_tokens must be a list of names, got the string {special_tokens!r}")
        normalizer = Normalizer.named("bert") if normalizer is None else normalizer
        pretokenizer = BERT if pretokenizer is None else pretokenizer
        special = [*special_tokens] if unknown in special_tokens else [unknown, *special_tokens]
        counts = count_words(texts, normalizer, pretokenizer, processes, special)
        names = train_wordpiece(
            counts,
            vocab_size,
            special,
            prefix=prefix,
            rule=rule,
            limit_alphabet=limit_alphabet,
            min_count=min_count,
            max_word=max_word,
            progress=progress,
        )
        return cls(
            names,
            unknown=unknown,
            prefix=prefix,
            max_word=max_word,
            normalizer=normalizer,
            pretokenizer=pretokenizer,
            special_tokens=special,
            template=template,
        )

    def _continues(self, name: str) -> bool:
        return name.startswith(self.prefix) and len(name) > len(self.prefix)

    def _contribution(self, name: str) -> bytes:
        return check_text(name[len(self.prefix) :] if self._continues(name) else " " + name)

    @cached_property
    def _starts(self) -> dict[str, int]:
        return {name: i for name, i in self.ordinary.items() if i != self.unknown}

    @cached_property
    def _matcher(self) -> LinMaxMatch:
        n, longest = len(self.prefix), self.max_word  # no word has a longer token
        continuations = {name[n:]: i for name, i in self._starts.items() if self._continues(name)}
        return LinMaxMatch(
            {name: i for name, i in self._starts.items() if len(name) <= longest},
            {string: i for string, i in continuations.items() if len(string) <= longest},
        )

    def _cut(self, words: list[str]) -> list[list[int]]:
        short = [word if len(word) <= self.max_word else "" for word in words]
        return self._matcher.cut(short, self._unknown)

    def _cut_reference(self, word: str) -> list[int]:
        if len(word) > self.max_word:
            return [self._unknown]
        names = cut_greedily(word, self._starts, prefix=self.prefix, unknown="")
        return [self._starts[name] for name in names] if names != [""] else [self._unknown]

    def _extents(self, word: str, ids: list[int]) -> list[tuple[int, int]]:
        if ids == [self.unknown]:
            return [(0, len(word))]
        ends = list(accumulate(len(self.names[i] or "") - (len(self.prefix) if k else 0) for k, i in enumerate(ids)))
        return list(zip([0, *ends], ends, strict=False))


def _names(vocabulary: Mapping[str, int] | Sequence[str]) -> list[str | None]:
    """Names by id."""
    if isinstance(vocabulary, str):
        raise TypeError(
            f"a vocabulary is a list of names or a mapping from names to ids, got the string {vocabulary!r}"
        )
    if not isinstance(vocabulary, Mapping):
        return list(vocabulary)
    last = max(vocabulary, key=vocabulary.__getitem__, default="")
    if vocabulary and vocabulary[last] >= MANY:
        raise ValueError(f"ids must be below {MANY}, got {vocabulary[last]} for {last!r}. Number the tokens from 0.")
    names: list[str | None] = [None] * (1 + max(vocabulary.values(), default=-1))
    for name, i in vocabulary.items():
        if i < 0 or names[i] is not None:
            raise ValueError(f"each token needs an id of its own that is not negative, got {i} for {name!r}")
        names[i] = name
    return names
