r"""
Common mistakes: fourteen ways to get nearly the same ids.

A tokenizer that is slightly wrong raises no error. The model that reads it is slightly worse, or a file written by one
program means something else to the next, and both are found weeks later if at all. Each example below makes one mistake
on purpose and shows the check that sees it. They run as tests.

You need: all the sections up to `fp_tokenize.interchange`.

>>> from collections import Counter
>>> from itertools import pairwise
>>> from fp_tokenize import BPETokenizer, ByteTokenizer, Normalizer, UnigramTokenizer, WordPieceTokenizer
>>> from fp_tokenize.merges import by_rank, joined, replay
>>> from fp_tokenize.pretokenize import Pretokenizer

## Training

**1. Overlapping pairs counted twice.** In `aaa` the pair `aa` can be merged once. Counting neighbours finds two. In
text with long runs (spaces, dashes, digits) the wrong pair wins, and its count falls by less than expected when it is
merged.

>>> Counter(pairwise("aaa"))["a", "a"], "aaa".count("aa")
(2, 1)

The trainer of Hugging Face's library, and so that of `fp_tokenize.bpe_training`, counts neighbours all the same: equal
merges are worth more than the better rule. What must not happen is a mixture: one rule at first, the other when counts
are brought up to date. A recount after every merge sees it, and is a test there.

**2. Ties left to chance.** Many pairs have equal counts. The order of a dictionary or of worker processes then decides,
and two runs give two vocabularies. Train twice with the texts in another order and compare.

>>> texts = ["ab cd", "ef gh"] * 3
>>> BPETokenizer.train(texts, 260).merges == BPETokenizer.train(texts[::-1], 260).merges
True

**3. Merges across words.** Without splitting into words, "of the" and "e." become tokens, and the vocabulary fills with
them. The check is a property, for every text: no token contains a space that is not its first character.

>>> text = "one of the two of the three. " * 50
>>> whole, split = (BPETokenizer.train([text], 268, pretokenizer=p) for p in (Pretokenizer(), None))
>>> [sum(b" " in made.id_to_bytes(i)[1:] for i in range(268)) for made in (whole, split)]
[6, 0]

**4. Judging by loss per token.** A larger vocabulary makes fewer tokens, each harder to guess, so the loss per token
rises while the model gets better. Compare bits per byte (`fp_tokenize.cost`).

## Encoding

**5. Longest match with a BPE vocabulary.** The vocabulary alone does not tell how to cut: the merges do. Taking the
longest token that fits is WordPiece's rule, and gives other ids, often shorter ones, which the model has never seen.

>>> merges = joined([("b", "c"), ("a", "b"), ("ab", "c")])
>>> by_rank("abc", merges), "abc" in merges.results
(['a', 'bc'], True)

**6. One pass in vocabulary order.** Applying each merge once, in order of rank, is right only if no merge makes
operands for an earlier one and each result has one merge (`fp_tokenize.merges`). Files exist for which that does not
hold.

>>> odd = joined([("ab", "c"), ("a", "b")])
>>> replay("abc", odd), by_rank("abc", odd)
(['ab', 'c'], ['abc'])

**7. Greedy Unigram.** The longest piece at each step is not the most probable segmentation: what is left behind it may
be expensive. Viterbi compares whole segmentations.

>>> scores = {"▁": -2.0, "▁un": -3.0, "do": -3.0, "▁und": -4.0, "o": -6.0}
>>> unigram = UnigramTokenizer([("<unk>", 0.0), *scores.items()])
>>> [unigram.id_to_token(i) for i in unigram.encode("undo")]
['▁un', 'do']
>>> scores["▁un"] + scores["do"] > scores["▁und"] + scores["o"]
True

**8. Losing spaces.** Splitting with `str.split` throws spaces and line ends away, and nothing brings them back. Round
trips on text with two spaces, a tab and a final line end see it. BERT's tokenizer does this by design; nothing that
writes text should.

>>> text = "two  spaces,\ta tab\n"
>>> split = BPETokenizer.train([text], 260)
>>> split.decode(split.encode(text)) == text, " ".join(text.split()) == text
(True, False)

**9. Forgetting the first space.** "the" at the beginning of a text and " the" inside it are different tokens. A prompt
that is put together from pieces must put the spaces where training texts had them: before words, not after.

>>> tokenizer = BPETokenizer.train(["and the cat and the mat" * 5], 262)
>>> [tokenizer.id_to_bytes(i) for i in tokenizer.encode("and the")]
[b'and', b' the']
>>> [tokenizer.id_to_bytes(i) for i in tokenizer.encode("and ") + tokenizer.encode("the")]
[b'and', b' ', b'the']

## Unicode

**10. Decoding tokens one by one.** A token can end inside a character. Join the bytes first, then decode, or use
`decode_stream`.

>>> bytes_of = ByteTokenizer()
>>> "".join(bytes_of.decode([i]) for i in bytes_of.encode("né")), "".join(bytes_of.decode_stream(bytes_of.encode("né")))
('n\ufffd\ufffd', 'né')

**11. Normalising before falling back to bytes.** NFKC turns "①" into "1" and "ﬁ" into "fi". Bytes, as symbols or as a
fallback for unknown characters, promise that every text comes back; what is normalised before them is lost before they
could save it. Byte-level vocabularies therefore normalise nothing, or NFC only.

>>> exact, folded = (BPETokenizer.train(["x"], 257, normalizer=n) for n in (None, Normalizer.named("nfkc")))
>>> exact.decode(exact.encode("ﬁve ①")), folded.decode(folded.encode("ﬁve ①"))
('ﬁve ①', 'five 1')

**12. One user, two spellings.** "é" is one code point or two. They look the same, and are different tokens; a password,
a file name or a cache key made from ids then fails to match. Normalise to NFC where texts come in, not in the
tokenizer.

>>> composed, decomposed = "é", "e\u0301"
>>> exact.encode(composed) == exact.encode(decomposed), Normalizer.named("nfc")(decomposed) == composed
(False, True)

## Special tokens

**13. Special tokens parsed from users' text.** `encode` reads spellings as text unless asked (`fp_tokenize.special`).
The opposite default lets a user end his own turn.

>>> chat = BPETokenizer.train(["hello"], 260, special_tokens=["<|end|>"])
>>> said = "hello<|end|>"
>>> chat.token_to_id("<|end|>") in chat.encode(said), chat.token_to_id("<|end|>") in chat.encode(said, special="parse")
(False, True)

**14. Special tokens found only when they stand alone.** Looking a *word* up in the table of special tokens misses those
that touch other text. They have to be cut out before words are.

>>> said.split(), chat.encode(said, special="parse")[-1] == chat.token_to_id("<|end|>")
(['hello<|end|>'], True)
"""

__all__: list[str] = []
