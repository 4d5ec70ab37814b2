"""tiktoken's rank files: a byte string in base64, a space and its rank on each line."""

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path

from fp_tokenize import pretokenize
from fp_tokenize._reading import MAX_GAP, Part, shown
from fp_tokenize.bpe import BPETokenizer, recovered
from fp_tokenize.characters import byte_alphabet
from fp_tokenize.merges import splits
from fp_tokenize.pretokenize import GPT2_PATTERN, SMOLLM, ByteLevel, Pretokenizer, Split


def read_ranks(path: Path) -> dict[bytes, int]:
    """The ranks in a file, by byte string."""
    ranks: dict[bytes, int] = {}
    holder: dict[int, bytes] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line:
            continue
        fields = line.split()
        if len(fields) != 2 or not fields[1].isdigit() or len(fields[1]) > 10:
            raise ValueError(f"line {number} should be base64, a space and a rank, and is {shown(line)}")
        try:
            token, rank = base64.b64decode(fields[0], validate=True), int(fields[1])
        except binascii.Error as error:
            raise ValueError(f"line {number} should begin with base64: {error}; it is {shown(line)}") from None
        if token in ranks or rank in holder:
            twice = f"the string {shown(token)}" if token in ranks else f"the rank {rank}"
            raise ValueError(f"line {number} gives {twice} a second time")
        ranks[token], holder[rank] = rank, token
    lacking = [b for b in range(256) if bytes([b]) not in ranks]
    if lacking:
        raise ValueError(
            f"{len(lacking)} bytes have no rank, {lacking[0]:#04x} for one. Is it cut off, or another kind of file?"
        )
    if b"" in ranks:
        raise ValueError(f"rank {ranks[b'']} belongs to an empty string")
    largest = max(holder)
    if largest - len(ranks) >= MAX_GAP:
        raise ValueError(f"{len(ranks)} ranks should have at most {MAX_GAP} gaps, and the largest is {largest}")
    return ranks


def tokenizer_of(
    ranks: Mapping[bytes, int], pattern: str | Pretokenizer, special_tokens: Mapping[str, int]
) -> BPETokenizer:
    """The tokenizer that cuts as tiktoken does with these ranks."""
    holder = {rank: token for token, rank in ranks.items()}
    for name, token_id in special_tokens.items():
        Part(token_id, f"the id of {shown(name)}").integer()
        if token_id in holder:
            raise ValueError(f"the special token {shown(name)} has the id {token_id} of {shown(holder[token_id])}")
        if token_id - max(holder) >= MAX_GAP:
            raise ValueError(
                f"the special token {shown(name)} has the id {token_id}, far behind the last rank {max(holder)}"
            )
    if not isinstance(pattern, Pretokenizer):
        # what the pattern does not match is no word there
        pattern = Pretokenizer([Split(pattern, behavior="removed", invert=True), ByteLevel(use_regex=False)])
    return BPETokenizer.from_ranks(ranks, pattern, special_tokens)


def ranks_of(tokenizer: BPETokenizer) -> dict[bytes, int]:
    """Ids by byte string, if tiktoken cuts by them as the tokenizer does; otherwise `ValueError`."""
    for setting in ("end_of_word", "continuing", "byte_fallback"):
        if getattr(tokenizer, setting):
            raise ValueError(f"rank files have no place for {setting}={getattr(tokenizer, setting)!r}")
    if tokenizer.normalizer.steps:
        raise ValueError(f"rank files have no place for a normaliser, got {tokenizer.normalizer!r}")
    special = tokenizer.special_tokens
    for token in tokenizer.added_tokens:
        if not token.special or token.strip_left or token.strip_right or token.single_word or token.normalized:
            raise ValueError(f"tiktoken has special tokens without options only, got {token!r}")
    byte_of = {name: b for b, name in enumerate(byte_alphabet())}
    ranks: dict[bytes, int] = {}
    for token_id, name in enumerate(tokenizer.names):
        if name is None or name in special:
            continue
        if not set(name) <= byte_of.keys():
            raise ValueError(f"the token {shown(name)} does not spell bytes, so it can have no rank")
        ranks[bytes(byte_of[character] for character in name)] = token_id
    lacking = [b for b in range(256) if bytes([b]) not in ranks]
    if lacking:
        raise ValueError(
            f"{len(lacking)} bytes have no token, {lacking[0]:#04x} for one: tiktoken fails where they occur. Train "
            "with all 256 bytes"
        )
    _check_merges(tokenizer, ranks)
    return ranks


def _check_merges(tokenizer: BPETokenizer, ranks: Mapping[bytes, int]) -> None:
    """`ValueError` unless the merges are those behind the ranks (`tokenize.merges-as-ranks`)."""
    names = byte_alphabet()
    spell = {token: "".join([names[b] for b in token]) for token in ranks}
    rank_of = {spell[token]: rank for token, rank in ranks.items()}
    shared = tokenizer._encoder.merges.ranks
    made = [rank_of[left + right] for left, right in tokenizer.merges]
    found = recovered(ranks)
    if found is None:
        every = {(spell[a], spell[b]) for a, b in splits(ranks).pairs}
        if shared is not None and list(shared) == made and set(tokenizer.merges) == every and tokenizer.ignore_merges:
            return
    elif made == sorted(made) and {(spell[a], spell[b]) for a, b in found} <= set(tokenizer.merges):
        return
    raise ValueError(
        "the merges are not those behind the ranks: tiktoken would cut some words in another way. Ids have to follow "
        "the order of the merges, and every token of several bytes has to be reached by them"
    )


def pattern_of(pretokenizer: Pretokenizer) -> str:
    """One pattern whose matches are the words of a pre-tokenizer; `ValueError` if there is none."""
    steps = [step for step in pretokenizer.steps if step != ByteLevel(use_regex=False)]
    if pretokenizer == SMOLLM:
        return pretokenize._SMOLLM.pattern
    if steps == [ByteLevel()]:
        return GPT2_PATTERN
    if not steps:
        return r"[\s\S]+"
    step = steps[0]
    if len(steps) == 1 and isinstance(step, Split) and step.regex:
        if step.behavior == "removed" and step.invert:
            return step.pattern
        if step.behavior == "isolated" and not step.invert:
            # what lies between the matches is a word here, and would be dropped there
            return step.pattern if step.known else f"{step.pattern}|(?:(?!{step.pattern})[\\s\\S])+"
    raise ValueError(f"tiktoken finds words by one pattern, and there is none for {pretokenizer!r}")
