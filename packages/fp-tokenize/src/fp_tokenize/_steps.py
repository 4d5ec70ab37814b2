"""The frame of a tokenizer in Hugging Face's layout, both ways: normaliser, pre-tokenizer, added tokens, template."""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fp_tokenize import normalize, pretokenize
from fp_tokenize._oniguruma import check
from fp_tokenize._reading import Part, shown
from fp_tokenize.special import AddedToken, Template

BEHAVIORS = {
    "Isolated": "isolated",
    "Removed": "removed",
    "MergedWithPrevious": "merged_with_previous",
    "MergedWithNext": "merged_with_next",
    "Contiguous": "contiguous",
}
_BEHAVIOR_OF = {ours: theirs for theirs, ours in BEHAVIORS.items()}


def made(part: Part, make: Callable[[], Any]) -> Any:
    """What `make` returns; its `ValueError` with the place in the file."""
    try:
        return make()
    except ValueError as error:
        raise part.refusal(f"is refused: {error}") from None


# ---- normalisers


def normalizer_steps(part: Part) -> list[normalize.Step]:
    """The steps of a `normalizer`."""
    if part.value is None:
        return []
    kind = part.text("type")
    if kind == "Sequence":
        steps = [step for member in part.part("normalizers").items() for step in normalizer_steps(member)]
    elif kind in ("NFC", "NFD", "NFKC", "NFKD"):
        steps = [normalize.Unicode(kind)]
    elif kind in ("Lowercase", "StripAccents", "Nmt"):
        steps = [getattr(normalize, kind)()]
    elif kind == "Strip":
        steps = [normalize.Strip(part.flag("strip_left"), part.flag("strip_right"))]
    elif kind in ("BertNormalizer", "Bert"):
        accents = None if part.part("strip_accents").value is None else part.flag("strip_accents")
        steps = [
            normalize.Bert(part.flag("clean_text"), part.flag("handle_chinese_chars"), accents, part.flag("lowercase"))
        ]
    elif kind == "Prepend":
        steps = [normalize.Prepend(part.text("prepend"))]
    elif kind == "Replace":
        pattern, is_regex = _pattern(part.part("pattern"))
        steps = [made(part, lambda: normalize.Replace(pattern, part.text("content"), is_regex))]
    elif kind == "Precompiled":
        steps = [_precompiled(part)]
    else:
        raise part.part("type").refusal(f"is {shown(kind)}, a normaliser that is not read here")
    part.done()
    return steps


def _precompiled(part: Part) -> normalize.Step:
    table = part.part("precompiled_charsmap")
    try:
        charsmap = base64.b64decode(table.text(), validate=True)
    except binascii.Error as error:
        raise table.refusal(f"should be base64: {error}") from None
    return made(table, lambda: normalize.Precompiled(charsmap))


def _pattern(part: Part) -> tuple[str, bool]:
    """A pattern, and whether it is a regular expression."""
    for key in ("String", "Regex"):
        if part.part(key).value is not None:
            pattern = part.text(key)
            part.done()
            if key == "Regex":
                try:
                    check(pattern)
                except ValueError as error:
                    raise part.part(key).refusal(str(error)) from None
            return pattern, key == "Regex"
    raise part.refusal(f"should be a String or a Regex, and is {shown(part.value)}")


def normalizer_layout(steps: Sequence[normalize.Step]) -> dict[str, Any] | None:
    """A `normalizer` of these steps."""
    return _sequence([_normalizer_layout(step) for step in steps], "normalizers")


def _normalizer_layout(step: normalize.Step) -> dict[str, Any]:
    match step:
        case normalize.Unicode():
            return {"type": step.form}
        case normalize.Lowercase() | normalize.StripAccents() | normalize.Nmt():
            return {"type": type(step).__name__}
        case normalize.Strip():
            return {"type": "Strip", "strip_left": step.left, "strip_right": step.right}
        case normalize.Bert():
            return {
                "type": "BertNormalizer",
                "clean_text": step.clean_text,
                "handle_chinese_chars": step.handle_chinese_chars,
                "strip_accents": step.strip_accents,
                "lowercase": step.lowercase,
            }
        case normalize.Prepend():
            return {"type": "Prepend", "prepend": step.text}
        case normalize.Replace():
            pattern = _pattern_layout(step.pattern, step.regex, "the normaliser")
            return {"type": "Replace", "pattern": pattern, "content": step.content}
        case normalize.Precompiled():
            return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(step.charsmap).decode()}
    raise TypeError(f"the normaliser's step {step!r} has no place in Hugging Face's layout")


def _pattern_layout(pattern: str, is_regex: bool, owner: str) -> dict[str, str]:
    if is_regex:
        try:
            check(pattern)
        except ValueError as error:
            raise ValueError(f"{owner} {error}") from None
    return {"Regex" if is_regex else "String": pattern}


def _sequence(layouts: list[dict[str, Any]], key: str) -> dict[str, Any] | None:
    return layouts[0] if len(layouts) == 1 else {"type": "Sequence", key: layouts} if layouts else None


# ---- pre-tokenizers


def pretokenizer_steps(part: Part) -> list[pretokenize.Step]:
    """The steps of a `pre_tokenizer`."""
    if part.value is None:
        return []
    kind = part.text("type")
    if kind == "Sequence":
        steps = [step for member in part.part("pretokenizers").items() for step in pretokenizer_steps(member)]
    elif kind in ("Whitespace", "WhitespaceSplit"):
        steps = [getattr(pretokenize, kind)()]
    elif kind == "BertPreTokenizer":
        steps = [pretokenize.Bert()]
    elif kind == "ByteLevel":
        part.flag("trim_offsets", True)  # changes what offsets show, not ids
        steps = [pretokenize.ByteLevel(part.flag("add_prefix_space"), part.flag("use_regex", True))]
    elif kind == "Digits":
        steps = [pretokenize.Digits(part.flag("individual_digits"))]
    elif kind == "Punctuation":
        steps = [pretokenize.Punctuation(_behavior(part, "Isolated"))]
    elif kind == "Split":
        pattern, is_regex = _pattern(part.part("pattern"))
        behavior, invert = _behavior(part), part.flag("invert")
        steps = [made(part, lambda: pretokenize.Split(pattern, is_regex, behavior, invert))]
    elif kind == "CharDelimiterSplit":
        delimiter = part.text("delimiter")
        steps = [made(part, lambda: pretokenize.Split(delimiter, False, "removed"))]
    elif kind == "Metaspace":
        replacement, scheme = metaspace(part)
        split = part.flag("split", True)
        steps = [made(part, lambda: pretokenize.Metaspace(replacement, scheme, split))]
    else:
        raise part.part("type").refusal(f"is {shown(kind)}, a pre-tokenizer that is not read here")
    part.done()
    return steps


def metaspace(part: Part) -> tuple[str, str]:
    """Replacement and scheme of a `Metaspace`, in its newer and its older spelling."""
    part.part("str_rep")
    scheme = part.text("prepend_scheme", "always")
    if part.part("add_prefix_space").value is not None and not part.flag("add_prefix_space"):
        if part.part("prepend_scheme").value not in (None, "never"):
            raise part.part("add_prefix_space").refusal(f"is false, against prepend_scheme {shown(scheme)}")
        scheme = "never"
    return part.text("replacement"), scheme


def _behavior(part: Part, default: str | None = None) -> str:
    name = part.text("behavior", default)
    if name not in BEHAVIORS:
        raise part.part("behavior").refusal(f"should be one of {', '.join(BEHAVIORS)}, and is {shown(name)}")
    return BEHAVIORS[name]


def pretokenizer_layout(steps: Sequence[pretokenize.Step]) -> dict[str, Any] | None:
    """A `pre_tokenizer` of these steps."""
    return _sequence([_pretokenizer_layout(step) for step in steps], "pretokenizers")


def _pretokenizer_layout(step: pretokenize.Step) -> dict[str, Any]:
    match step:
        case pretokenize.Whitespace() | pretokenize.WhitespaceSplit():
            return {"type": type(step).__name__}
        case pretokenize.Bert():
            return {"type": "BertPreTokenizer"}
        case pretokenize.ByteLevel():
            return byte_level(step.add_prefix_space, step.use_regex)
        case pretokenize.Digits():
            return {"type": "Digits", "individual_digits": step.individual_digits}
        case pretokenize.Punctuation():
            return {"type": "Punctuation", "behavior": _BEHAVIOR_OF[step.behavior]}
        case pretokenize.Split():
            return {
                "type": "Split",
                "pattern": _pattern_layout(step.pattern, step.regex, "the pre-tokenizer"),
                "behavior": _BEHAVIOR_OF[step.behavior],
                "invert": step.invert,
            }
        case pretokenize.Metaspace():
            return {
                "type": "Metaspace",
                "replacement": step.replacement,
                "prepend_scheme": step.prepend_scheme,
                "split": step.split,
            }
    raise TypeError(f"the pre-tokenizer's step {step!r} has no place in Hugging Face's layout")


def byte_level(add_prefix_space: bool = False, use_regex: bool = True) -> dict[str, Any]:
    """The layout of `ByteLevel`, which serves as pre-tokenizer and as decoder."""
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True, "use_regex": use_regex}


# ---- added tokens

_FLAGS = {"single_word": "single_word", "strip_left": "lstrip", "strip_right": "rstrip", "normalized": "normalized"}


def added_tokens(part: Part, vocabulary: Mapping[str, int]) -> list[AddedToken]:
    """
    The added tokens, in order of their ids.

    Hugging Face's library gives one that the vocabulary has the vocabulary's id, and the others the next ids, whatever
    the file says: a file that says otherwise is refused.
    """
    if part.value is None:
        return []
    tokens: list[AddedToken] = []
    seen: set[str] = set()
    following = len(vocabulary)
    for member in part.items():
        content = member.text("content")
        flags = {ours: member.flag(theirs) for ours, theirs in _FLAGS.items()}
        special = member.flag("special")
        token = made(member, lambda: AddedToken(content, special, **flags))  # noqa: B023
        token_id = member.integer("id")
        member.done()
        if content in seen:
            raise member.refusal(f"is the second added token {shown(content)}")
        seen.add(content)
        due = vocabulary.get(content)
        if due is None:
            due, following = following, following + 1
        if token_id != due:
            raise member.part("id").refusal(
                f"is {token_id}, and {shown(content)} gets the id {due}: its own in the vocabulary, or else the next"
            )
        tokens.append(token)
    return tokens


def added_tokens_layout(tokens: Sequence[AddedToken], id_of: Mapping[str, int]) -> list[dict[str, Any]]:
    """`added_tokens`, in order of their ids as the library writes them."""
    return [
        {
            "id": id_of[token.content],
            "content": token.content,
            **{theirs: getattr(token, ours) for ours, theirs in _FLAGS.items()},
            "special": token.special,
        }
        for token in sorted(tokens, key=lambda token: id_of[token.content])
    ]


# ---- templates


def template(part: Part, id_of: Mapping[str, int]) -> Template:
    """What a `post_processor` puts around one text."""
    if part.value is None:
        return Template()
    kind = part.text("type")
    if kind == "Sequence":
        found = [template(member, id_of) for member in part.part("processors").items()]
        found = [t for t in found if t != Template()]
        if len(found) > 1:
            raise part.refusal("has two parts that add tokens; only one is read here")
        result = found[0] if found else Template()
    elif kind == "ByteLevel":
        for key in ("add_prefix_space", "trim_offsets", "use_regex"):
            part.flag(key, True)  # all about offsets
        result = Template()
    elif kind in ("BertProcessing", "RobertaProcessing"):
        if kind == "RobertaProcessing":
            part.flag("trim_offsets", True), part.flag("add_prefix_space", True)
        result = Template((_pair(part.part("cls"), id_of),), (_pair(part.part("sep"), id_of),))
    elif kind == "TemplateProcessing":
        result = _template(part, id_of)
    else:
        raise part.part("type").refusal(f"is {shown(kind)}, a post-processor that is not read here")
    part.done()
    return result


def _pair(part: Part, id_of: Mapping[str, int]) -> str:
    members = list(part.items())
    if len(members) != 2:
        raise part.refusal(f"should be a name and an id, and is {shown(part.value)}")
    name = members[0].text()
    _check_id(members[1], name, id_of)
    return name


def _check_id(part: Part, name: str, id_of: Mapping[str, int]) -> None:
    if id_of.get(name) != part.integer():
        raise part.refusal(f"is {shown(part.value)}, and the id of {shown(name)} is {id_of.get(name)}")


def _template(part: Part, id_of: Mapping[str, int]) -> Template:
    meaning: dict[str, tuple[str, ...]] = {}
    for key in list(part.part("special_tokens").fields().value):
        entry = part.part("special_tokens").part(key)
        names = [name.text() for name in entry.part("tokens").items()]
        ids = list(entry.part("ids").items())
        if entry.text("id") != key or len(ids) != len(names):
            raise entry.refusal("should have its own name as id, and one id a token")
        for name, token_id in zip(names, ids, strict=True):
            _check_id(token_id, name, id_of)
        entry.done()
        meaning[key] = tuple(names)
    part.part("pair")  # two texts in one: not a matter of this chapter
    around: list[tuple[str, ...]] = [(), ()]
    texts = 0
    for piece in part.part("single").items():
        if piece.part("Sequence").value is not None:
            inner = piece.part("Sequence")
            texts += 1
            if inner.text("id") != "A" or texts > 1:
                raise inner.refusal("should be the one text, A, of a template for one text")
        else:
            inner = piece.part("SpecialToken")
            name = inner.text("id")
            if name not in meaning:
                raise inner.refusal(f"names {shown(name)}, which is not among special_tokens")
            around[texts] += meaning[name]
        inner.integer("type_id", 0)
        inner.done()
        piece.done()
    if not texts:
        raise part.part("single").refusal("has no place for the text")
    return Template(*around)


def template_layout(template: Template, id_of: Mapping[str, int]) -> dict[str, Any] | None:
    """A `TemplateProcessing`; for pairs of texts, what a second text gets is what follows the first, and it."""
    if template == Template():
        return None

    def token(name: str, type_id: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": type_id}}

    def text(name: str, type_id: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": type_id}}

    single = [*(token(n, 0) for n in template.before), text("A", 0), *(token(n, 0) for n in template.after)]
    names = dict.fromkeys((*template.before, *template.after))
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, text("B", 1), *(token(n, 1) for n in template.after)],
        "special_tokens": {n: {"id": n, "ids": [id_of[n]], "tokens": [n]} for n in names},
    }
