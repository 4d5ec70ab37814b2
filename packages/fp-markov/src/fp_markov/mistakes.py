r"""
Common mistakes: twelve ways to be wrong that raise no error.

A wrong language model seldom crashes. It prints a loss, often a better one than the right model's, because whatever
leaks into it or is left out of it makes guessing easier. Each example below makes one mistake on purpose and shows the
check that sees it. They run as tests.

You need: all the sections up to `fp_markov.vocabulary`.

>>> import numpy as np
>>> from fp_markov.information import bits_per_byte, perplexity
>>> from fp_markov.ngram import NGramModel
>>> from fp_markov.sampling import draw, temperature
>>> from fp_markov.vocabulary import Vocabulary
>>> rng = np.random.default_rng(0)
>>> text = "the cat sat on the mat\nthe dog sat on the log\nThe cat saw the dog\n"
>>> new = "the dog saw the cat\nThe dog sat on the mat\n"

**1. The joint probability for the conditional one.** How often a pair occurs, among all pairs, is $P(c, w)$. The model
needs $P(w \mid c)$, among the pairs that begin with $c$. Every row of the right table sums to one; all entries of the
wrong one together do.

>>> ids = np.array([0, 1, 0, 2, 0, 1, 0])
>>> pairs = np.zeros((3, 3))
>>> np.add.at(pairs, (ids[:-1], ids[1:]), 1)
>>> joint, conditional = pairs / pairs.sum(), pairs / pairs.sum(axis=1, keepdims=True)
>>> joint.sum(axis=1).round(3), conditional.sum(axis=1).round(3)
(array([0.5  , 0.333, 0.167]), array([1., 1., 1.]))

**2. Zeros hidden by a floor.** Bare counts give a new n-gram probability zero, and the text with it an infinite loss. A
floor under the logarithm makes that finite and means nothing: the number depends on the floor alone. Count the zeros,
and smooth.

>>> letters = Vocabulary.from_text(text)
>>> bare = NGramModel(4, len(letters), "mle").fit(letters.encode(text))
>>> log_p = bare.log_prob(letters.encode(new))
>>> bare.cross_entropy(letters.encode(new)), int(np.isneginf(log_p).sum())
(inf, 2)
>>> [round(float(-np.maximum(log_p, np.log(floor)).mean()), 2) for floor in (1e-3, 1e-10)]
[0.58, 1.33]

**3. Unknown words left out of the loss.** A model that skips what it does not know is the better the less it knows.
The loss has to charge for every word, and a comparison needs the same unknown words on both sides
(`markov.merged-tokens`). Here the skipping model is charged for fewer words each time and looks better each time.

>>> for min_count in (1, 2, 4):
...     words = Vocabulary.from_text(text, "words", min_count=min_count, unknown=True)
...     model = NGramModel(1, len(words), "mle").fit(words.encode(text))
...     log_p = model.log_prob(words.encode(new))
...     known = words.encode(new) != words.unk
...     print(int(known.sum()), round(float(-log_p[known].mean()), 2))
11 2.08
8 1.8
3 1.22

**4. Temperature zero by division.** The limit exists, the quotient does not. It is a case of its own: the most likely
token.

>>> logits = np.array([1.0, 3.0, 2.0])
>>> with np.errstate(divide="ignore", invalid="ignore"):
...     scaled = logits / 0.0
...     np.isnan(np.exp(scaled - scaled.max())).any().item()
True
>>> draw(logits, rng, temperature=0).item()
1

A very small temperature is no way around, if the logits are divided before their maximum is taken away: they overflow.
`temperature` takes it away first.

>>> with np.errstate(over="ignore"):
...     np.isinf(logits / 1e-310).all().item(), temperature(logits, 1e-310).max().item()
(True, 0.0)

**5. Products of probabilities.** The probability of a page is smaller than the smallest number that a computer has.
Its logarithm is an ordinary number: add.

>>> p = np.full(2000, 0.1)
>>> float(p.prod()), round(float(np.log(p).sum()))
(0.0, -4605)

**6. Shuffled before it was split.** Overlapping windows of one text, shuffled and then divided, put nearly every
held-out token into the training half as well. On random tokens nobody can expect a loss below $\ln V$
(`markov.gibbs`). This one is far below:

>>> noise = rng.integers(0, 11, size=3000)
>>> windows = rng.permutation(np.lib.stride_tricks.sliding_window_view(noise, 7))
>>> leaked = NGramModel(5, 11).fit(windows[:-300].ravel()).cross_entropy(windows[-300:].ravel())
>>> honest = NGramModel(5, 11).fit(noise[:-300]).cross_entropy(noise[-300:])
>>> leaked < float(np.log(11)) - 0.2, honest < float(np.log(11))
(True, False)

**7. Counted across boundaries.** Sentences, names or documents written one after the other, without a token between,
have $n$-grams that nobody wrote: the last word of one line before the first of the next. Their order in the file then
changes the model. With `<s>` and `</s>` it does not.

>>> words = Vocabulary.from_text(text, "words", sentences=True)
>>> lines = text.splitlines(keepends=True)
>>> def the_after_mat(order, encode, **settings):
...     model = NGramModel(2, len(words), "mle", **settings).fit(encode("".join(lines[i] for i in order)))
...     return model.next_distribution(words.encode("mat"))[words.encode("the")].item()
>>> the_after_mat([0, 1, 2], words.encode), the_after_mat([1, 0, 2], words.encode)
(1.0, 0.0)
>>> [the_after_mat(order, words.encode_sentences, bos=words.bos) for order in ([0, 1, 2], [1, 0, 2])]
[0.0, 0.0]

**8. Perplexity of the training text.** It falls with every order, because the model recites: even where there is
nothing to learn. The random tokens above are each as surprising as a die of eleven sides, and text that was not counted
says so.

>>> models = [NGramModel(order, 11).fit(noise[:-300]) for order in (1, 3, 5)]
>>> on_train, on_new = ([model.perplexity(part) for model in models] for part in (noise[:-300], noise[-300:]))
>>> on_train[0] > on_train[1] > on_train[2], on_train[2] < 4, min(on_new) > 10.9
(True, True, True)

**9. The beginning of a sentence predicted.** `<s>` always follows `</s>`, so a model that is asked for it is right
every time, and the mean over more tokens is lower although no word was predicted better. `<s>` is given. `</s>` is not:
without it no sentence would ever end.

>>> train, held_out = words.encode_sentences(text), words.encode_sentences(new)
>>> asked = NGramModel(2, len(words)).fit(train)
>>> given = NGramModel(2, len(words), bos=words.bos).fit(train)
>>> asked.cross_entropy(held_out) < given.cross_entropy(held_out)
True
>>> log_p = given.log_prob(held_out)
>>> set(log_p[held_out == words.bos].tolist()), bool((log_p[held_out == words.eos] < 0).all())
({0.0}, True)

**10. Folded case.** A text in lower case is easier, and it is another text: the model of it cannot write the original.
Whatever is folded, stripped or normalised before encoding is not predicted, and the bytes of (E8) of
`fp_markov.information` are no longer those of the text. The check is the way back.

>>> folded = Vocabulary.from_text(text.lower())
>>> folded.decode(folded.encode(new.lower())) == new, letters.decode(letters.encode(new)) == new
(False, True)

**11. Not normalised.** One is added to each count, and the denominator forgotten: the "probabilities" of a context sum
to more than one, and the loss is too good. The sum over the vocabulary is the check, in *every* context, unseen ones
included.

>>> counts, V = np.array([3, 1, 0, 0]), 4
>>> wrong, right = (counts + 1) / (counts.sum() + 1), (counts + 1) / (counts.sum() + V)
>>> wrong.sum().item(), right.sum().item()
(1.6, 1.0)
>>> model = NGramModel(2, 5, "additive", alpha=1.0).fit([0, 1, 0, 2, 1])
>>> all(abs(model.next_distribution([c]).sum() - 1) < 1e-12 for c in range(5))
True

**12. Nats for bits, tokens for bytes.** Perplexity is $e$ to the loss in nats, or $2$ to the loss in bits. A uniform
belief shows which one was taken: its perplexity is the size of the vocabulary. And losses are *per token*, so two
vocabularies meet only in bits per byte: eight for a uniform belief over bytes.

>>> loss = float(np.log(256))
>>> round(2**loss, 1), round(perplexity(loss), 1), round(bits_per_byte(loss, n_tokens=9, n_bytes=9), 1)
(46.7, 256.0, 8.0)

## In practice

Four checks find nearly all of these. Every context's probabilities sum to one. A uniform belief has the perplexity of
the vocabulary's size. On random tokens no held-out loss is below $\ln V$, but for chance. And the tokens that were
scored, decoded, are the text. A loss that is surprisingly good is a mistake until one has looked; with networks, which
learn from whatever leaks, more than with counts.
"""

__all__: list[str] = []
