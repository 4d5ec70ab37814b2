r"""
Healing: what a prompt's last token has to do with its first answer.

A person stops typing in the middle of a text; an encoder cuts what was typed as if the text ended there. A model that
was trained on whole texts has rarely seen such an end, and continues it badly. This section shows the fault, says which
continuation the typed text really asks for, and how it is had, exactly or nearly.

You need: `fp_tokenize.cost` (`tokenize.segmentation-bound`), `fp_tokenize.pipeline`, `fp_markov.probability`.

## The tokens of a beginning

Train byte-pair encoding on a few addresses. `://` becomes one token, and so an address never has a token `:`:

>>> import math
>>> from fp_tokenize.bpe import BPETokenizer
>>> def pieces(tokenizer, text):
...     return [tokenizer.id_to_bytes(i).decode("utf-8", "replace") for i in tokenizer.encode(text)]
>>> web = BPETokenizer.train(["http://a.org http://b.net http://c.com http://d.eu"], vocab_size=264)
>>> pieces(web, "http://e.de"), pieces(web, "http:")
(['http', '://', 'e', '.', 'd', 'e'], ['http', ':'])

After the prompt `http:` a model of these texts meets a token that it has never met there. It has no reason to write
`//`, and the token that it would like to write, `://`, no longer fits. A space at the end does the same to every
prompt: words are tokens with the space before them.

>>> from pydoc_data.topics import topics
>>> text = "\n".join(topics[name] for name in sorted(topics))
>>> tokenizer = BPETokenizer.train([text], vocab_size=2000)
>>> pieces(tokenizer, "The value of the"), pieces(tokenizer, "The value of ")
(['The', ' value', ' of', ' the'], ['The', ' value', ' of', ' '])

So the tokens of a prompt need not begin the tokens of the text that its author has in mind, and then the model is asked
for a text that it believes its author would never write.

## What is asked for

Let $P$ be a model's distribution over token sequences, closed by an end token, and let every token spell at least one
byte. (Special tokens spell none and are not among them: what they begin is no typed text.) $d(x)$ are the bytes that
$x$ spells, as in `fp_tokenize.cost`. Who types $s$ asks for a text that *begins with the bytes* $s$, however it is cut.
Call a sequence $x_1, \dots, x_k$ of tokens a **cover** of $s$ if $d(x_1, \dots, x_k)$ begins with $s$, and
$d(x_1, \dots, x_{k-1})$ does not: the last token is the first to reach the end of $s$. For $s$ without bytes the empty
sequence is the only cover.

**Claim** `tokenize.cover`. The bytes of a sequence begin with $s$ if and only if the sequence begins with a cover of
$s$, and then it begins with exactly one. Hence, with $P(x \ldots)$ for the probability that a sequence begins with $x$,

$$P(\text{bytes begin with } s) = \sum_{x \text{ a cover of } s} P(x \ldots). \qquad \text{(E1)}$$

Let it be positive. If a cover is drawn with probability $P(x \ldots)$ divided by (E1), and continued as the model
continues it, the whole sequence has the distribution of $P$ given that the bytes begin with $s$.

**Proof.** The bytes of the beginnings of a sequence grow longer with each token. If all of them together begin with
$s$, there is a first beginning whose bytes do: as far as they reach, they agree with $s$. It is a cover; a shorter
beginning does not begin with $s$ and a longer one has a shorter beginning that does, so no other beginning is a cover.
If a sequence begins with a cover its bytes begin with those of the cover, and so with $s$. The event thus is the
disjoint union of the events "begins with $x$" over all covers, which is (E1). For the last statement let $y$ be a
sequence whose bytes begin with $s$, and $x$ its cover. It is drawn with probability $\frac{P(x \ldots)}{P(s \ldots)}
\cdot \frac{P(y)}{P(x \ldots)} = \frac{P(y)}{P(s \ldots)}$, where $P(s \ldots)$ is (E1). $\blacksquare$

The sum need not be taken cover by cover. Let the model look back at $m$ tokens: $P(t \mid c)$ depends on the last $m$
tokens of $c$ only. Write $s_{i:j}$ for the bytes of $s$ from place $i$ to before place $j$, and let $\alpha_i(c)$ be
the probability of all sequences that spell the first $i$ bytes of $s$ and have $c$ for their last $m$ tokens (all of
them where there are fewer). With $c \cdot t$ for the last $m$ tokens of $c$ followed by $t$,

$$
\begin{aligned}
\alpha_0(\varnothing) &= 1, \qquad
\alpha_j(c') = \sum_{\substack{i,\, c,\, t :\; d(t) = s_{i:j} \\ c \cdot t = c'}} \alpha_i(c)\, P(t \mid c),
  & \qquad \text{(E2)} \\
P(\text{bytes begin with } s)
  &= \sum_{i,\, c} \alpha_i(c) \sum_{t :\; d(t) \text{ begins with } s_{i:|s|}} P(t \mid c), && \text{(E3)}
\end{aligned}
$$

with places $i < |s|$ throughout.

**Claim** `tokenize.cover-sums`. (E3) is (E1). Let it be positive. Draw a term of (E3) with its share of the sum; then,
as long as $i > 0$, a term of the $\alpha_i(c)$ that was met, with its share of that sum. The tokens $t$ of these steps,
read from the last drawn to the first, are a cover $x$, with probability $P(x \ldots)$ divided by (E1).

**Proof.** By `markov.chain-rule` a sequence has the product of its tokens' conditional probabilities. For
$\alpha_i(c)$, by induction on the place: a sequence that spells $s_{0:j}$ with $j > 0$ is one that spells a shorter
$s_{0:i}$, with some last tokens $c$, and one more token that spells $s_{i:j}$; sum over the shorter ones with the same
$i$ and $c$, whose next token has the same $P(t \mid c)$. A cover is a sequence that spells $s_{0:i}$ for some $i <
|s|$, and one more token that begins with the rest: (E3) in the same way. A draw that gives $x$ passes the places $i_k >
\dots > i_1 = 0$ with last tokens $c_k, \dots, c_1$, and has the probability

$$
\frac{\alpha_{i_k}(c_k)\, P(x_k \mid c_k)}{\text{(E1)}} \cdot
\frac{\alpha_{i_{k-1}}(c_{k-1})\, P(x_{k-1} \mid c_{k-1})}{\alpha_{i_k}(c_k)} \cdots
\frac{\alpha_0(\varnothing)\, P(x_1 \mid c_1)}{\alpha_{i_2}(c_2)},
$$

in which every $\alpha$ but $\alpha_0(\varnothing) = 1$ cancels. $\blacksquare$

Where the model looks back at everything, (E2) has a state for every way to spell a beginning of $s$; for short $s$, the
bytes of a token or two, these are few.

## Finding the tokens

The tokens that begin with some bytes stand together in a sorted table.

**Claim** `tokenize.prefix-run`. Let $u$ have at most $n$ bytes, and order byte strings as a dictionary does. $u$ begins
with $p$ if and only if $p \le u \le p\,\mathtt{FF}^n$, where $\mathtt{FF}$ is the largest byte.

**Proof.** If $u = pv$, then $p$ is a beginning of $u$ and so not after it; and $v$, of at most $n$ bytes none of which
exceeds $\mathtt{FF}$, is not after $\mathtt{FF}^n$. Conversely let $u$ not begin with $p$. If $u$ is a proper beginning
of $p$, it comes before $p$. Otherwise the two differ at some place within $p$, first at one where $u$ has the smaller
byte, and then $u < p$, or the larger one, and then $u$ comes after everything that begins with $p$. $\blacksquare$

So two binary searches give all tokens that begin with $p$. Those that are a proper beginning of $p$ are looked for one
length at a time.

## Taking tokens back

**Token healing** is the practical form. Take back the last tokens of the prompt's encoding, keep the rest as they are,
and let the model choose again, but only tokens that agree with the bytes taken back.

**Claim** `tokenize.healing-exact`. Let $x_1, \dots, x_j$ be kept and $r$ be the bytes taken back, so that $s = d(x_1,
\dots, x_j)\, r$, and let sequences that begin with $x_1, \dots, x_j$ and whose bytes begin with $s$ have a positive
probability together. A sequence drawn after $x_1, \dots, x_j$ as in `tokenize.cover` for $r$ has the distribution of
$P$ given that the sequence begins with $x_1, \dots, x_j$ and its bytes begin with $s$. That is $P$ given that its bytes
begin with $s$ if and only if every sequence of positive probability whose bytes begin with $s$ begins with $x_1, \dots,
x_j$.

**Proof.** The first statement is `tokenize.cover` for the distribution of what follows $x_1, \dots, x_j$: there the
bytes that follow begin with $r$ exactly if all bytes begin with $s$. Let $E$ be the event that the bytes begin with
$s$, $K$ that the sequence begins with what was kept. The two distributions are $P(\cdot \mid E \cap K)$ and $P(\cdot
\mid E)$. If all of $E$ that has positive probability lies in $K$, they are the same. If a sequence $y$ of positive
probability lies in $E$ and not in $K$, then the first gives it zero and the second does not. $\blacksquare$

When does that hold for a model that gives probability to encoded texts only, $x = \text{encode}(t)$ for some text $t$?
When the kept tokens begin the encoding of every text that begins with the prompt. How many must be taken back for that
depends on the encoder. For greedy longest-match, as in `fp_tokenize.wordpiece`, the answer is a length:

**Claim** `tokenize.greedy-lookahead`. Let an encoder take at each place, from left to right, the longest token that
fits there, none longer than $m$ bytes. The tokens that begin at a place $p \le |s| - m$ of a prompt $s$ begin the
encoding of every text that begins with $s$.

**Proof.** By induction from the left. Both encodings begin at place $0$. If both have a token that begins at
$p \le |s| - m$, the longest token that fits there is decided by the next $m$ bytes, which lie within $s$ and are the
same in the text. So both take the same token, and both have the next one begin where it ends. $\blacksquare$

For byte-pair encoding a later byte can change tokens farther back, one merge after the other. But no merge crosses the
words of the pre-tokenizer:

**Claim** `tokenize.back-to-space`. Let the encoder be one for which `tokenize.space-boundary` holds, without
normalisation and special tokens, and let $s = uv$ where $v$ begins with a single space between two characters that are
none. Then the encoding of $u$ begins the encoding of every text that begins with $s$.

**Proof.** A text that begins with $s$ is $u v'$, where $v'$ begins with $v$ and so with the same space between the same
two characters. By `tokenize.space-boundary` the words of $uv'$ are those of $u$ followed by others, and by
`tokenize.encode-concatenates` so are their ids. $\blacksquare$

So taking back the last word, with its space, is always enough there. One token, which is what most programs take back,
is enough for most prompts and not for all. Cut paragraphs of the training text anywhere, and count how many tokens must
go until the others begin the tokens of the paragraph:

>>> rng = np.random.default_rng(0)
>>> paragraphs = [line for line in text.split("\n\n") if len(line) > 100]
>>> chosen = [paragraphs[i] for i in rng.integers(len(paragraphs), size=500)]
>>> ends = [int(rng.integers(50, len(line))) for line in chosen]
>>> back = [taken_back(tokenizer, line[:end], line) for line, end in zip(chosen, ends)]
>>> share = np.bincount(back) / len(back)
>>> bool(0.2 < share[0] < 0.4), bool(0.4 < share[1] < 0.6), bool(0 < share[3:].sum() < 0.2)
(True, True, True)

Those that need three or more end in a long word of which only a part was typed, and that part is no piece of the
vocabulary.

>>> len(pieces(tokenizer, "a dictio")) >= 4, pieces(tokenizer, "a dictionary")
(True, ['a', ' dictionary'])

What does it change? Here is a model that looks back at two tokens, and the probability that after `The value of `, with
its space, it writes `the` next. Continued as it stands, the prompt makes that nearly impossible. (E3) with the space
taken back says what the model believes, and so does (E3) with the whole prompt:

>>> from fp_markov.ngram import NGramModel
>>> model = NGramModel(3, tokenizer.vocab_size).fit(tokenizer.encode_array(text))
>>> table, prompt = TokenTable(tokenizer), tokenizer.encode("The value of ")
>>> def after(data, kept):
...     return math.exp(-prefix_surprisal(model.next_distribution, table, data, kept, memory=2))
>>> kept, space = heal(tokenizer, prompt)
>>> as_it_stands, healed = after(b"the", prompt), after(b" the", kept) / after(space, kept)
>>> whole = after(b"The value of the", []) / after(b"The value of ", [])
>>> as_it_stands < 0.02, healed > 0.25, abs(healed / whole - 1) < 0.1
(True, True, True)

And this is how often an unfinished word is finished, of ten tries, with nothing, one token and the word taken back:

>>> def finished(take_back):
...     prompt = tokenizer.encode("This is a dictio")
...     tries = [complete(model.next_distribution, tokenizer, prompt, 5, rng, take_back=take_back, memory=2)
...              for _ in range(10)]
...     return sum(b"dictionar" in b"".join(map(tokenizer.id_to_bytes, ids)) for ids in tries)
>>> finished(0) < 5, finished(1) < 5, finished(4)
(True, True, 10)

The same sums tell what `tokenize.segmentation-bound` left open: how much less a text costs than its one encoding. For
this model and lines that it has seen, a few percent:

>>> lines = [line + "\n" for line in text.split("\n") if len(line) > 60][:5]
>>> def encoded(line):
...     ids = tokenizer.encode(line)
...     return -sum(math.log(model.next_distribution(ids[:n])[i]) for n, i in enumerate(ids))
>>> one = sum(map(encoded, lines))
>>> all_of_them = -sum(math.log(after(line.encode(), [])) for line in lines)
>>> 0.95 < all_of_them / one < 0.995
True

## Masks are not conditioning

Programs that only *mask* the tokens that do not agree with the bytes, and draw from the others at every step, draw
something else as soon as a cover can have more than one token: they look at how likely a token is, and not at how
likely the rest is after it.

**Claim** `tokenize.mask-weight`. Draw tokens one after another, each from $P(\cdot \mid c)$ restricted to those that
begin with what is left of $s$ or that it begins with, divided by their total probability $Z$, until $s$ is covered;
stop with weight zero if a $Z$ is zero. Let the weight of the result be the product of the $Z$. Then a cover $x$ of
positive probability comes up with probability $P(x \ldots)$ divided by its weight, and the mean weight is (E1).

**Proof.** Each step multiplies the probability by $P(t \mid c) / Z$, so all of them together give $P(x \ldots)$ over
the product of the $Z$, which is the weight. The mean weight is the sum over the covers of positive probability of
probability times weight, $\sum_x P(x \ldots)$. $\blacksquare$

So a result must be weighed by the $Z$ that it met, for example by keeping one of several in proportion to their
weights. With independent tokens $a$, $b$ and $ab$ of probabilities 0.4, 0.3 and 0.3, the bytes `ab` are covered by $ab$
or by $a$, $b$. The mask prefers the second, which is the less probable:

>>> class Pieces:
...     vocab_size = 3
...
...     def id_to_bytes(self, token_id):
...         return [b"a", b"b", b"ab"][token_id]
...
...     def encode(self, text):
...         raise NotImplementedError
>>> table = TokenTable(Pieces())
>>> def following(context):
...     return np.array([0.4, 0.3, 0.3])
>>> round(math.exp(-prefix_surprisal(following, table, b"ab")), 3), round(0.3 / 0.42, 3)
(0.42, 0.714)
>>> rng = np.random.default_rng(0)
>>> masked = [draw_masked(following, table, b"ab", rng) for _ in range(2000)]
>>> share = sum(ids == [2] for ids, _ in masked) / 2000
>>> 0.40 < share < 0.46
True

and the weights mend it:

>>> weights = np.array([weight for _, weight in masked])
>>> agrees = np.array([ids == [2] for ids, _ in masked])
>>> bool(abs(weights.mean() - 0.42) < 0.01), bool(abs(weights[agrees].sum() / weights.sum() - 0.714) < 0.02)
(True, True)

## In practice

Libraries for guided generation heal by one token and mask; interfaces of large models often do nothing, and advise
against prompts that end in a space. Turning a model of tokens into one of bytes altogether is (E3) applied at every
byte; for large models the sum is cut to the likeliest covers. Prompts inside a chat end with a special token, which is
a clean boundary: `heal` takes nothing back behind one.

References: S. Lundberg, *The art of prompt design: prompt boundaries and token healing*, 2023; M. Berglund and B. van
der Merwe, *Formalizing BPE tokenization*, 2023, on how far back a later byte reaches; T. Vieira and others, *From
language models over tokens to language models over characters*, 2024; B. Phan and others, *Exact byte-level
probabilities from tokenized language models*, 2024.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int64

from fp_tokenize._cutter import Cutter, unspelled

__all__ = [  # the order of the page
    "TokenTable",
    "heal",
    "allowed",
    "taken_back",
    "covers",
    "prefix_surprisal",
    "draw_cover",
    "draw_masked",
    "complete",
]

Following = Callable[[Sequence[int]], Float[np.ndarray, " V"]]
"""A model: the probabilities of all tokens after some ids."""

Ids = Int64[np.ndarray, " K"]
State = tuple[int, tuple[int, ...]]  # of (E2): the place i and the last tokens c


class TokenTable:
    """
    The tokens of a vocabulary, sorted by their bytes; special tokens and those without bytes are left out.

    Parameters
    ----------
    tokenizer
        Anything with `vocab_size` and `id_to_bytes`.

    Examples
    --------
    >>> from fp_tokenize import CharTokenizer
    >>> table = TokenTable(CharTokenizer("aá"))
    >>> table.extending("á".encode()[:1]).tolist(), table.allowed(b"ab").tolist()
    ([2], [1])
    """

    def __init__(self, tokenizer: Cutter) -> None:
        left_out = unspelled(tokenizer)
        pairs = ((tokenizer.id_to_bytes(i), i) for i in range(tokenizer.vocab_size) if i not in left_out)
        table = sorted(pair for pair in pairs if pair[0])
        self.vocab_size = tokenizer.vocab_size
        self.spellings = [spelling for spelling, _ in table]
        self.ids: Ids = np.array([i for _, i in table], np.int64)
        self._spelling = {i: spelling for spelling, i in table}
        self._last = b"\xff" * max(map(len, self.spellings), default=0)

    def spelling(self, token_id: int) -> bytes:
        """The bytes of a token of the table."""
        return self._spelling[token_id]

    def extending(self, prefix: bytes) -> Ids:
        """Ids of the tokens whose bytes begin with some bytes: one run of the table (`tokenize.prefix-run`)."""
        return self.ids[bisect_left(self.spellings, prefix) : bisect_right(self.spellings, prefix + self._last)]

    def within(self, prefix: bytes) -> Ids:
        """Ids of the tokens that some bytes properly begin with, the shortest first."""
        beginnings = (prefix[:n] for n in range(1, min(len(prefix), len(self._last) + 1)))
        runs = [self.ids[bisect_left(self.spellings, b) : bisect_right(self.spellings, b)] for b in beginnings]
        return np.concatenate([np.empty(0, np.int64), *runs])

    def allowed(self, prefix: bytes) -> Ids:
        """Ids of the tokens that agree with some bytes as far as both reach: in order of id."""
        return np.sort(np.concatenate((self.within(prefix), self.extending(prefix))))

    def mask(self, prefix: bytes) -> Bool[np.ndarray, " V"]:
        """The same as one truth value for each id of the vocabulary."""
        mask = np.zeros(self.vocab_size, bool)
        mask[self.allowed(prefix)] = True
        return mask


def heal(tokenizer: Cutter, ids: Sequence[int], tokens: int = 1) -> tuple[list[int], bytes]:
    """
    Take back the last tokens of a prompt.

    Parameters
    ----------
    tokenizer
        What encoded the prompt.
    ids
        The prompt's ids.
    tokens
        How many to take back; fewer where a special token stands in the way, which stays.

    Returns
    -------
    tuple
        The ids that are kept, and the bytes that the next tokens have to begin with.

    Raises
    ------
    ValueError
        If `tokens` is negative.

    Examples
    --------
    >>> from fp_tokenize import ByteTokenizer
    >>> heal(ByteTokenizer(), [104, 105, 32])
    ([104, 105], b' ')
    """
    if tokens < 0:
        raise ValueError(f"tokens to take back are counted, got {tokens}. 0 takes none back.")
    ids = [int(i) for i in ids]
    stay = unspelled(tokenizer)
    keep = len(ids)
    while keep and len(ids) - keep < tokens and ids[keep - 1] not in stay:
        keep -= 1
    return ids[:keep], b"".join(tokenizer.id_to_bytes(i) for i in ids[keep:])


def allowed(tokenizer: Cutter, prefix: bytes) -> Ids:
    """
    Ids of the tokens that agree with some bytes as far as both reach; for many questions keep a `TokenTable`.

    Parameters
    ----------
    tokenizer
        Anything with `vocab_size` and `id_to_bytes`.
    prefix
        The bytes, for example those that `heal` took back; without bytes, all tokens that spell something are allowed.

    Returns
    -------
    ndarray
        Ids, int64, rising.
    """
    return TokenTable(tokenizer).allowed(prefix)


def taken_back(tokenizer: Cutter, prompt: str, text: str) -> int:
    """
    How many of the prompt's tokens must be taken back so that the rest begin the tokens of the whole text.

    Parameters
    ----------
    tokenizer
        Any tokenizer.
    prompt
        The beginning of the text.
    text
        The whole text.

    Returns
    -------
    int
        0 if nothing needs healing.

    Raises
    ------
    ValueError
        If the text does not begin with the prompt.
    """
    if not text.startswith(prompt):
        raise ValueError(f"the prompt must be the beginning of the text, got {prompt[:40]!r} and {text[:40]!r}")
    ids = tokenizer.encode(prompt)
    agree = 0
    for i, j in zip(ids, tokenizer.encode(text), strict=False):
        if i != j:
            break
        agree += 1
    return len(ids) - agree


def covers(table: TokenTable, data: bytes) -> Iterator[list[int]]:
    """
    All covers of some bytes, as ids: the reference for (E3), a term for each.

    Parameters
    ----------
    table
        The vocabulary.
    data
        The bytes to cover.

    Yields
    ------
    list of int
        Each cover once.
    """
    if not data:
        yield []
        return
    for i in table.extending(data).tolist():
        yield [i]
    for i in table.within(data).tolist():
        for rest in covers(table, data[len(table.spelling(i)) :]):
            yield [i, *rest]


def prefix_surprisal(
    following: Following, table: TokenTable, data: bytes, context: Sequence[int] = (), memory: int | None = None
) -> float:
    """
    The surprisal of the event that what follows a context begins with some bytes (E3).

    Parameters
    ----------
    following
        The model: probabilities of all tokens after some ids.
    table
        Its vocabulary.
    data
        The bytes.
    context
        Ids before them.
    memory
        How many tokens the model looks back at, m; `None` if all of them.

    Returns
    -------
    float
        Nats, infinite if the bytes cannot come.

    Examples
    --------
    >>> from fp_tokenize import ByteTokenizer
    >>> fair = np.full(256, 1 / 256)
    >>> bits = prefix_surprisal(lambda ids: fair, TokenTable(ByteTokenizer()), b"two", memory=0) / np.log(2)
    >>> round(float(bits), 9)
    24.0
    """
    if not data:
        return 0.0
    _, finals = _forward(following, table, data, context, memory)
    return -_log_sum(np.concatenate([masses for masses, _, _ in finals])) + 0.0


def draw_cover(
    following: Following,
    table: TokenTable,
    data: bytes,
    rng: np.random.Generator,
    context: Sequence[int] = (),
    memory: int | None = None,
) -> list[int]:
    """
    A cover of some bytes, drawn as the model would given that they come (`tokenize.cover-sums`).

    Parameters
    ----------
    following, table, data, context, memory
        As for `prefix_surprisal`.
    rng
        Source of randomness.

    Returns
    -------
    list of int
        Ids, whose bytes begin with `data`.

    Raises
    ------
    ValueError
        If the model gives the bytes probability zero.
    """
    if not data:
        return []
    arrivals, finals = _forward(following, table, data, context, memory)
    choice = _draw(np.concatenate([masses for masses, _, _ in finals]), rng)
    if choice is None:
        raise ValueError(f"the model gives no probability to a text that goes on with {data!r}: change the prompt")
    state, token = [(state, token) for masses, state, tokens in finals for token in tokens.tolist()][choice]
    ids = [token]
    while state[0]:
        steps = arrivals[state]
        _, state, token = steps[_draw(np.array([mass for mass, _, _ in steps]), rng) or 0]
        ids.append(token)
    return ids[::-1]


def draw_masked(
    following: Following, table: TokenTable, data: bytes, rng: np.random.Generator, context: Sequence[int] = ()
) -> tuple[list[int], float]:
    """
    A cover drawn under masks, and its weight (`tokenize.mask-weight`).

    Parameters
    ----------
    following, table, data, rng, context
        As for `draw_cover`.

    Returns
    -------
    tuple
        Ids, and the product of the probabilities that the masks left; an unfinished cover and zero at a dead end.
    """
    ids, weight = list[int](), 1.0
    while data:
        tokens = table.allowed(data)
        p = following([*context, *ids])[tokens].astype(np.float64)
        left = float(p.sum())
        weight *= left
        if not left > 0:
            break
        ids.append(int(rng.choice(tokens, p=p / left)))
        data = data[len(table.spelling(ids[-1])) :]
    return ids, weight


def complete(
    following: Following,
    tokenizer: Cutter,
    ids: Sequence[int],
    n_tokens: int,
    rng: np.random.Generator,
    *,
    take_back: int = 1,
    memory: int | None = None,
) -> list[int]:
    """
    A prompt, healed and continued.

    Parameters
    ----------
    following
        The model.
    tokenizer
        What encoded the prompt.
    ids
        The prompt's ids.
    n_tokens
        How many tokens are drawn, at least those that cover what was taken back.
    rng
        Source of randomness.
    take_back
        How many tokens are taken back; 0 continues the prompt as it is.
    memory
        As for `prefix_surprisal`.

    Returns
    -------
    list of int
        All ids: those that were kept, and the new ones.

    Raises
    ------
    ValueError
        As `heal` and `draw_cover`.
    """
    kept, data = heal(tokenizer, ids, take_back)
    drawn = draw_cover(following, TokenTable(tokenizer), data, rng, kept, memory)
    while len(drawn) < n_tokens:
        p = following([*kept, *drawn]).astype(np.float64)
        drawn.append(int(rng.choice(len(p), p=p / p.sum())))
    return kept + drawn


def _forward(
    following: Following, table: TokenTable, data: bytes, context: Sequence[int], memory: int | None
) -> tuple[dict[State, list[tuple[float, State, int]]], list[tuple[Float[np.ndarray, " K"], State, Ids]]]:
    """The logarithms of the terms of (E2), by the state at which they arrive, and of those of (E3)."""

    def last(ids: tuple[int, ...]) -> tuple[int, ...]:
        return ids if memory is None else ids[max(len(ids) - memory, 0) :]

    start = (0, last(tuple(context)))
    arrivals: dict[State, list[tuple[float, State, int]]] = {start: [(0.0, start, -1)]}
    reached: list[list[State]] = [[] for _ in data]  # states by place, to be left in the order of places
    reached[0].append(start)
    finals = []
    for place, states in enumerate(reached):
        for state in states:
            with np.errstate(divide="ignore"):
                log_p = np.log(np.asarray(following(state[1]), np.float64))
            alpha = _log_sum(np.array([mass for mass, _, _ in arrivals[state]]))
            whole = table.extending(data[place:])
            finals.append((alpha + log_p[whole], state, whole))
            for token in table.within(data[place:]).tolist():
                if log_p[token] > -np.inf:
                    then = (place + len(table.spelling(token)), last((*state[1], token)))
                    if then not in arrivals:
                        arrivals[then] = []
                        reached[then[0]].append(then)
                    arrivals[then].append((alpha + float(log_p[token]), state, token))
    return arrivals, finals


def _log_sum(masses: Float[np.ndarray, " K"]) -> float:
    return float(np.logaddexp.reduce(masses)) if len(masses) else -np.inf


def _draw(masses: Float[np.ndarray, " K"], rng: np.random.Generator) -> int | None:
    """A place, with probability proportional to the exponentials; `None` if all are zero."""
    most = masses.max(initial=-np.inf)
    if most == -np.inf:
        return None
    shares = np.exp(masses - most)
    return int(rng.choice(len(shares), p=shares / shares.sum()))
