r"""
ARPA: the file in which n-gram models travel.

Since the 1990s toolkits exchange back-off models as text: one line an $n$-gram, with the two numbers of (E1) of
`fp_markov.smoothing` as decimal logarithms. This section writes and reads that file, so that a model made here serves
in KenLM, SRILM, Kaldi or a speech recogniser, and theirs here.

You need: `fp_markov.smoothing`, `fp_markov.ngram`.

## The file

```
\data\
ngram 1=5
ngram 2=4

\1-grams:
-0.7781	<unk>	0
-99	<s>	-0.30103
-0.4771	</s>
…
\2-grams:
-0.1761	<s> the
…
\end\
```

After a header with the numbers of $n$-grams, each section lists, separated by tabs, $\log_{10} p(cw)$, the tokens, and
$\log_{10} \beta(cw)$, the back-off weight of $cw$ *as a context* of the next order; a missing weight is $0$, that is,
$\beta = 1$. The highest order has none. Four conventions matter:

- There is no $P_0$: a token that is not listed does not exist. So every token of the vocabulary is written as a
  unigram, with its $P_1(w)$, also one that the text lacks. KenLM expects `<unk>` to be among them.
- Zero has no logarithm. It is written, and read, as $-99$.
- `<s>` begins a sentence and is never predicted. Its probability is without meaning; KenLM writes $0$, SRILM $-99$,
  which is what is written here.
- Each $n$-gram's context is listed one order below.

**Claim** `markov.arpa-listed`. A model in the form (E1) of `fp_markov.smoothing` and the model that lists all $V$
tokens as unigrams, each with its $P_1(w)$, give every token the same probability after every context.

**Proof.** For $n = 1$ the second model has $p(w) = P_1(w)$ for all $w$, by construction. For larger $n$ both have the
same $p$, $\beta$ and contexts but for this: a token that the text lacks becomes a context of length one in the second
model, with nothing behind it and $\beta = 1$. There the second line of (E1) gives $1 \cdot P_1(w)$, and the third line
in the first model gives $P_1(w)$. Contexts of two and more tokens are those of the text in both, and by induction so
are their values. $\blacksquare$

## In practice

The numbers are rounded: nine digits here, six or seven in files made with 32-bit floats, an error of some $10^{-7}$ of
each probability. A model over characters has blanks and line ends among its tokens, which the format cannot hold; give
them names, such as `<space>`."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from fp_markov._files import replacing
from fp_markov.counting import find
from fp_markov.smoothing import Weights

__all__ = ["write_arpa", "read_arpa", "BOS"]  # the order of the page

ZERO = -99.0  # the logarithm of nothing
BOS = "<s>"
SEPARATORS = set(" \t\r\n\0")  # those of KenLM: other white space, such as a no-break space, may be part of a token


def write_arpa(
    path: Path | str, weights: Sequence[Weights], unigrams: Float[np.ndarray, " V"], tokens: Sequence[str]
) -> None:
    """
    Write the numbers of a model as an ARPA file.

    Parameters
    ----------
    path
        Where; an earlier file is replaced only when the new one is complete.
    weights
        One item an order, lowest first.
    unigrams
        P_1 of every token.
    tokens
        The name of every token, by id.

    Raises
    ------
    ValueError
        If a name is empty, holds white space, has no bytes in UTF-8 or stands twice, if there are not as many names as
        tokens, or if the model does not back off to the shorter context.
    """
    V = len(unigrams)
    if len(tokens) != V:
        raise ValueError(f"an ARPA file names every token: give {V} names, got {len(tokens)}")
    for name in tokens:
        if not name or set(name) & SEPARATORS:
            raise ValueError(f"the name of a token in an ARPA file is not empty and has no white space, got {name!r}")
    try:
        "".join(tokens).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise ValueError(f"the names of tokens in an ARPA file are UTF-8, got half of a pair, {half!r}") from None
    if len(set(tokens)) < V:
        double = next(name for i, name in enumerate(tokens) if name in tokens[:i])
        raise ValueError(f"the names of tokens must differ, got {double!r} twice")
    if len(weights) > 1 and any(w.uniform_below for w in weights):
        raise ValueError(
            "an ARPA file backs off to the shorter context, and this smoothing to the uniform distribution. "
            "Use another smoothing, or order 1."
        )
    with replacing(path) as file:
        file.writelines(line.encode() for line in _lines(weights, unigrams, tokens))


def _lines(weights: Sequence[Weights], unigrams: Float[np.ndarray, " V"], tokens: Sequence[str]) -> Iterator[str]:
    V = len(tokens)
    yield "\\data\\\n"
    for n, level in enumerate(weights, start=1):
        yield f"ngram {n}={V if n == 1 else len(level.keys)}\n"
    names: list[str] = []
    for n, level in enumerate(weights, start=1):
        yield f"\n\\{n}-grams:\n"
        if n == 1:
            listed, probability = list(tokens), unigrams
            names = [tokens[key] for key in level.keys.tolist()]
        else:
            contexts, last = np.divmod(level.keys, V)
            listed = names = [f"{names[c]} {tokens[w]}" for c, w in zip(contexts.tolist(), last.tolist(), strict=True)]
            probability = level.probability
        log_p = _log10(probability)
        if n == len(weights):
            yield from (f"{p:.9g}\t{name}\n" for p, name in zip(log_p, listed, strict=True))
            continue
        backoff = weights[n].backoff
        if n == 1:
            backoff = np.ones(V)
            backoff[level.keys] = weights[n].backoff
        rows = zip(log_p, listed, _log10(backoff), strict=True)
        yield from (f"{p:.9g}\t{name}\t{b:.9g}\n" for p, name, b in rows)
    yield "\n\\end\\\n"


def _log10(values: Float[np.ndarray, " N"]) -> list[float]:
    with np.errstate(divide="ignore"):
        return np.maximum(np.log10(values), ZERO).tolist()


def read_arpa(path: Path | str) -> tuple[list[Weights], list[str]]:
    """
    Read an ARPA file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    weights : list of Weights
        One item an order, lowest first.
    tokens : list of str
        The name of every token, by id, in the order of the unigrams.

    Raises
    ------
    ValueError
        If the file is not in UTF-8, a line is no line of such a file, a number is not a log-probability, an n-gram has
        a token or a context that is not listed before it, or sections and header disagree.
    """
    with Path(path).open(encoding="utf8", newline="\n") as file:
        try:
            return _read(enumerate(file, start=1), str(path))
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} is no text in UTF-8, as an ARPA file is: unpack it if it is packed, or convert it"
            ) from error


def _read(lines: Iterator[tuple[int, str]], path: str) -> tuple[list[Weights], list[str]]:
    sizes: list[int] = []
    for number, line in lines:
        text = line.strip()
        if text.startswith("ngram "):
            name, _, count = text.removeprefix("ngram ").partition("=")
            if name.strip() != str(len(sizes) + 1) or not count.strip().isdecimal() or int(count) < 1:
                raise ValueError(f"{path}:{number}: expected 'ngram {len(sizes) + 1}=' and a count, got {text!r}")
            sizes.append(int(count))
        elif text == "\\1-grams:":
            break
        elif text not in ("", "\\data\\"):
            raise ValueError(f"{path}:{number}: expected the header of an ARPA file, got {text!r}")
    else:
        raise ValueError(f"{path} has no section \\1-grams: and so is no ARPA file")
    if not sizes:
        raise ValueError(f"{path} does not say how many n-grams it has")

    weights: list[Weights] = []
    ids: dict[str, int] = {}
    rank_of_row: Int[np.ndarray, " G"] = np.zeros(1, np.int64)
    backoff = np.ones(1)
    for n, size in enumerate(sizes, start=1):
        grams, p, next_backoff = _section(lines, path, n, size, ids)
        V = len(ids)
        contexts = np.zeros(size, np.int64)
        for level, column in zip(weights, grams.T, strict=False):
            contexts = find(level.keys, V, contexts, column)
        if size and contexts.min() < 0:
            missing = [list(ids)[i] for i in grams[int(contexts.argmin()), :-1]]
            raise ValueError(f"{path}: an n-gram has the context {' '.join(missing)!r}, which is not listed")
        keys = contexts * V + grams[:, -1]
        rank_of_row = np.argsort(keys, kind="stable")
        keys = keys[rank_of_row]
        if (keys[1:] == keys[:-1]).any():
            raise ValueError(f"{path}: a {n}-gram is listed twice")
        p = p[rank_of_row]
        if n == 1 and BOS in ids:
            p[ids[BOS]] = 0  # whatever the file says: it is given, never predicted
        weights.append(Weights(keys, p, backoff))
        backoff = next_backoff[rank_of_row]
    return weights, list(ids)


def _section(
    lines: Iterator[tuple[int, str]], path: str, n: int, size: int, ids: dict[str, int]
) -> tuple[Int[np.ndarray, "G n"], Float[np.ndarray, " G"], Float[np.ndarray, " G"]]:
    """The tokens, probabilities and back-off weights of a section whose heading was read, up to the next heading."""
    grams, log_p, log_b = [], [], []
    for number, line in lines:
        text = line.strip(" \t\r\n")
        if text.startswith("\\") and text in (f"\\{n + 1}-grams:", "\\end\\"):
            break
        if not text:
            continue
        fields = [field for part in text.split("\t") for field in part.split(" ") if field]
        if len(fields) not in (n + 1, n + 2):
            raise ValueError(f"{path}:{number}: expected a number, {n} tokens and perhaps a number, got {text!r}")
        if n == 1:
            ids.setdefault(fields[1], len(ids))
        try:
            grams.append([ids[token] for token in fields[1 : n + 1]])
            log_p.append(float(fields[0]))
            log_b.append(float(fields[n + 1]) if len(fields) == n + 2 else 0.0)
        except KeyError as error:
            raise ValueError(f"{path}:{number}: {error.args[0]!r} is not among the 1-grams") from None
        except ValueError:
            raise ValueError(f"{path}:{number}: expected decimal logarithms, got {text!r}") from None
        if not log_p[-1] <= 0 or not log_b[-1] < math.inf:
            raise ValueError(f"{path}:{number}: a probability has a logarithm of zero or less, got {text!r}")
    else:
        raise ValueError(f"{path} ends without \\end\\: it was cut off")
    if len(grams) != size:
        raise ValueError(f"{path}: the header promises {size} {n}-grams, the section has {len(grams)}")
    return np.array(grams, np.int64).reshape(size, n), _power(log_p), _power(log_b)


def _power(logs: list[float]) -> Float[np.ndarray, " N"]:
    values = np.array(logs)
    return np.where(values <= ZERO, 0.0, 10.0**values)
