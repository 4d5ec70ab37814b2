"""
Renders a chat template in a process of its own, with limits: what `fp_capstone.chat_template` starts.

Reads a request as JSON from the standard input, and writes the texts, or what went wrong, as JSON to the standard
output. It runs as a file, and so imports nothing but the standard library and jinja2.
"""

import json
import sys
from contextlib import suppress
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

MAX_CHARACTERS = 4_000_000
MAX_BYTES = 1 << 30  # of memory


class Refused(TemplateError):
    """The template itself turned the conversation down."""


class _Generation(Extension):
    """`{% generation %}` marks what training counts as the model's; for reading, it is what stands inside."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(ImmutableSandboxedEnvironment):
    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """An error at once, where jinja2's own sandbox gives an empty text."""
        raise SecurityError(f"it asks for {attribute!r} of an object of type {type(obj).__name__}")


class _Names(Namespace):
    """`namespace` of templates, without names that begin with an underscore."""

    def __init__(*args: Any, **values: Any) -> None:
        for name in dict(*args[1:], **values):
            _plain(name)
        Namespace.__init__(*args, **values)

    def __setitem__(self, name: str, value: Any) -> None:
        _plain(name)
        super().__setitem__(name, value)


def _plain(name: object) -> None:
    if str(name).startswith("_"):
        raise SecurityError(f"it asks for {name!r} of a namespace")


def render(template: str, conversations: list[list[dict[str, str]]], variables: dict[str, Any]) -> list[str]:
    """
    The texts that a template makes of some conversations, as Hugging Face transformers would.

    Raises
    ------
    TemplateError, Exception
        Whatever the template causes.
    """
    environment = _Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )  # of which the blocks leave no line of their own
    now = datetime.now()
    environment.filters["tojson"] = _tojson
    del environment.filters["random"], environment.globals["lipsum"]  # the same texts each time
    environment.globals |= {
        "dict": _dict,
        "namespace": _Names,
        "raise_exception": _raise_exception,
        "strftime_now": now.strftime,
    }
    compiled = environment.from_string(template)
    texts = []
    for messages in conversations:
        parts, n = [], 0
        for part in compiled.generate(messages=messages, **variables):
            parts.append(part)
            n += len(part)
            if n > MAX_CHARACTERS:
                raise OverflowError(f"it writes more than {MAX_CHARACTERS:,} characters")
        texts.append("".join(parts))
    return texts


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    """Without the escapes for web pages that jinja2's own has."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _dict(*args: Any, **values: Any) -> dict[Any, Any]:
    """As a function it has fewer attributes than the class."""
    return dict(*args, **values)


def _raise_exception(message: object) -> None:
    raise Refused(str(message))


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """`{"texts": …}`, or `{"error": …}` with a sentence about the template, `it`."""
    try:
        return {"texts": render(**request)}
    except Refused as error:
        return {"error": f"it refuses this conversation: {error}"}
    except TemplateSyntaxError as error:
        return {"error": f"it is no template that can be read: line {error.lineno}, {error.message}"}
    except SecurityError as error:
        return {"error": f"{error}, which is forbidden to templates. Nothing of it was carried out"}
    except (MemoryError, OverflowError, RecursionError) as error:
        return {"error": f"it exceeds what a template may use: {error or type(error).__name__}"}
    except Exception as error:  # whatever a stranger's template does
        return {"error": f"it fails with {type(error).__name__}: {error}"}


def confine(seconds: int) -> None:
    """Limit this process, where the system can; who started it ends it when its time is up."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    for kind, limit in (("AS", MAX_BYTES), ("CPU", seconds), ("FSIZE", 0), ("CORE", 0)):
        with suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, f"RLIMIT_{kind}"), (limit, limit))


def main() -> None:
    """Answer one request."""
    request = json.loads(sys.stdin.buffer.read())
    confine(request.pop("seconds"))
    sys.stdout.buffer.write(json.dumps(answer(request)).encode())


if __name__ == "__main__":
    main()
