"""The commands of src/fp_capstone/cli.py for models that others have trained."""

import io
import json
import os
import select
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

import fp_capstone.chat_template
import fp_capstone.cli
from fp_capstone import _render
from fp_capstone.cli import app
from fp_capstone.pretrained import SMOLLM2

PROGRAM = [sys.executable, "-m", "fp_capstone.cli"]


def call(*arguments, input=None):
    env = {"COLUMNS": "200", "TERM": "dumb"}
    return CliRunner().invoke(app, [str(a) for a in arguments], env=env, input=input)


def refused(result, sentence):
    """A mistake is one line on the standard error, and the exit code says so."""
    assert result.exit_code == 1, result.output
    assert len(result.stderr.splitlines()) == 1
    assert sentence in result.stderr, result.stderr
    return result.stderr.startswith("error: ")


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    """Render in this process, which is faster; an empty cache."""
    monkeypatch.setattr(fp_capstone.chat_template, "confined", lambda request, _: _render.answer(request))
    if not SMOLLM2.present:
        monkeypatch.setenv("FP_CAPSTONE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The smallest thing that counts as a run of this chapter."""
    from fp_capstone.model import Model
    from fp_tokenize import CharTokenizer
    from fp_transformer import TransformerConfig

    path = tmp_path_factory.mktemp("runs") / "one"
    tokenizer = CharTokenizer("abc\n")
    config = TransformerConfig.gpt2(
        vocab_size=tokenizer.vocab_size, context_length=16, n_layers=1, n_heads=2, d_model=8
    )
    Model(config, np.random.default_rng(0)).save(path / "model", tokenizer)
    (path / "settings.toml").touch()
    return path


def test_a_foreign_model_continues_a_prompt(talker):
    result = call("generate", talker, "--prompt", "hello", "--max-new-tokens", 7, "--greedy")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("hello") and result.stdout.endswith("\n")
    assert (
        result.stdout == call("generate", talker, "--prompt", "hello", "--max-new-tokens", 7, "--temperature", 0).stdout
    )
    options = ("--prompt", "a", "--max-new-tokens", 7, "--min-p", 0.01, "--top-k", 30, "--seed", 1)
    warm = [call("generate", talker, *options) for _ in range(2)]
    assert warm[0].stdout == warm[1].stdout and warm[0].exit_code == 0


def test_a_run_is_written_by_either_model(run):
    """`--min-p` is known to the autograd model only; a minimum of nothing changes nothing."""
    own = call("generate", run, "--prompt", "ab", "--max-new-tokens", 20, "--seed", 4)
    other = call("generate", run, "--prompt", "ab", "--max-new-tokens", 20, "--seed", 4, "--min-p", 1e-9)
    assert own.exit_code == other.exit_code == 0, own.output + other.output
    greedy = call("generate", run, "--prompt", "ab", "--max-new-tokens", 12, "--greedy")
    assert call("generate", run, "--prompt", "ab", "--max-new-tokens", 12, "--min-p", 1).stdout == greedy.stdout
    # the two slide differently when the context is full: up to there the text is the same
    assert own.stdout[:16] == other.stdout[:16]


def test_stop_strings_end_a_text(run, talker):
    for model in (run, talker):
        whole = call("generate", model, "--prompt", "a", "--max-new-tokens", 9, "--greedy").stdout[1:]
        stop = whole[3]
        cut = call("generate", model, "--prompt", "a", "--max-new-tokens", 9, "--greedy", "--stop", stop)
        assert cut.stdout == "a" + whole[: whole.index(stop)] + "\n"


def test_marks_in_a_prompt_are_text_unless_asked_for(talker, monkeypatch):
    from fp_transformer.model import Transformer

    seen = []
    monkeypatch.setattr(Transformer, "generate", lambda self, ids, *_, **__: seen.append(len(ids)) or iter(()))
    for options in ([], ["--special"]):
        assert call("generate", talker, "--prompt", "<|im_end|>", *options).exit_code == 0
    assert seen == [10, 1]


def test_settings_that_do_not_go_together(talker, run, tmp_path):
    assert refused(call("generate", talker, "--greedy", "--temperature", 0.5), "--greedy is --temperature 0")
    assert refused(call("generate", talker, "--prompt", "ü"), "tokenizer does not know, for instance 'ü'")
    assert refused(call("generate", talker, "--prompt", "a", "--stop", ""), "at least one character")
    assert refused(call("generate", talker, "--prompt", "a", "--top-p", 3), "top_p")
    assert refused(call("chat", talker, "--temperature", -1, input="a"), "--temperature must be 0 (greedy) or positive")
    assert refused(call("chat", talker, "--seed", -1, input="a"), "--seed must be at least 0")
    assert refused(call("chat", run, input="a"), "has no chat template: it is a base model")
    assert refused(call("chat", talker, input=" \n"), "no question came through standard input")
    assert refused(call("chat", talker, input=b"\xff"), "no text in UTF-8: byte 0")
    assert refused(call("chat", talker, input="a" * 90), "shorten the question")
    assert refused(call("inspect", talker, "--length", 97), "--length must lie in [1, 96]")
    assert refused(call("inspect", tmp_path / "absent"), "there is nothing at that path")
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03")
    for command in ("inspect", "generate", "chat"):
        assert refused(call(command, tmp_path / "cut.gguf", input="a"), "cut.gguf cannot be read")


def test_a_hostile_template_is_answered_by_a_line(talker, tmp_path):
    for file in talker.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "chat_template.jinja").write_text("{{ cycler.__init__.__globals__.os.system('touch gone') }}")
    assert refused(
        call("chat", tmp_path, input="a"), "asks for '__init__' of an object of type type, which is forbidden"
    )


def test_a_question_through_a_pipe_gets_one_answer(talker):
    result = call("chat", talker, "--max-new-tokens", 5, "--greedy", "--system", "be kind", input="hello\nyou\n")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert 1 <= len(result.stdout.removesuffix("\n")) <= 5


def test_inspecting(talker, run):
    about = json.loads(call("inspect", talker, "--json").stdout)
    assert about["model"]["context"] == 96
    assert "gpt2: 1 layers, width 8, 2 heads, learned positions" in call("inspect", run).stdout


def test_fetching_says_where_it_is_and_what_next(monkeypatch, tmp_path):
    monkeypatch.setattr("fp_capstone.pretrained.fetch", lambda name, **_: tmp_path / f"{name}.gguf")
    result = call("fetch", "smollm2")
    assert result.exit_code == 0, result.output
    assert f"smollm2 is in {tmp_path / 'smollm2.gguf'}" in result.stdout
    assert "fp-capstone chat smollm2" in result.stdout


def test_what_cannot_be_fetched(monkeypatch, tmp_path):
    monkeypatch.setenv("FP_CAPSTONE_CACHE", str(tmp_path / "cache"))
    assert refused(call("fetch", "smollm2", "--offline"), "--offline forbids fetching it")
    assert refused(call("fetch", "gpt4"), "no model 'gpt4' can be fetched; those known are smollm2")
    assert refused(call("chat", "smollm2", input="a"), "run  fp-capstone fetch smollm2")


def conversation(path, max_new_tokens=9):
    from fp_capstone.chat import Conversation, Sampling
    from fp_capstone.pretrained import open_pretrained

    sampling = Sampling(temperature=0, max_new_tokens=max_new_tokens)
    return Conversation(open_pretrained(path), sampling, np.random.default_rng(0))


class _Terminal:
    """The program at a terminal of its own."""

    def __init__(self, *arguments):
        import pty

        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "dumb"
            os.execv(PROGRAM[0], [*PROGRAM, *map(str, arguments)])

    def until(self, *texts, seconds=60):
        got, end = "", time.monotonic() + seconds
        while not all(text in got for text in texts):
            assert time.monotonic() < end, got
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    got += os.read(self.fd, 4096).decode()
                except OSError:  # it has ended
                    break
        assert all(text in got for text in texts), got
        return got

    def type(self, text):
        os.write(self.fd, text.encode())

    def ended(self):
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


@pytest.mark.skipif(os.name == "nt", reason="terminals of POSIX")
def test_a_conversation_at_a_terminal(talker):
    terminal = _Terminal("chat", talker, "--max-new-tokens", 9, "--greedy")
    terminal.until("parameters, a context of 96 tokens", "\n> ")
    terminal.type("hello\n")
    terminal.until("\n> ")
    terminal.type("/quit\n")
    assert terminal.ended() == 0


def test_what_can_be_typed_at_a_terminal(talker, monkeypatch, capsys):
    """Ctrl-C and Ctrl-D come from `input` as exceptions."""
    typed = iter(["hello", "/what now", KeyboardInterrupt, "  ", "/reset", "a" * 90, "hello", EOFError])

    def answer(prompt):
        value = next(typed)
        if isinstance(value, str):
            return value
        raise value

    monkeypatch.setattr("builtins.input", answer)
    talk = conversation(talker)
    fp_capstone.cli._talk(talk, talker)
    out = capsys.readouterr().out
    for shown in (
        "model: 7,520 parameters, a context of 96 tokens", "/what is no command; there are /reset and /quit",
        "Ctrl-D or /quit leaves", "a new conversation", "error: the question makes a prompt of",
    ):  # fmt: skip
        assert shown in out, out
    assert len(talk.messages) == 2  # of the new conversation
    assert out.count(talk.messages[1]["content"]) == 2
    typed = iter(["/quit"])
    fp_capstone.cli._talk(talk, talker)


def test_what_the_context_did_to_an_answer_is_said(talker, monkeypatch):
    talk, said = conversation(talker, 200), []
    monkeypatch.setattr(fp_capstone.cli, "_write", lambda _: None)
    fp_capstone.cli._answer(talk, "hello" * 8, said.append)
    talk.sampling = conversation(talker).sampling
    fp_capstone.cli._answer(talk, "how", said.append)
    assert said == [
        "(the answer ends here because the context does)",
        "(the context is full: the oldest 2 messages were forgotten)",
    ]


def test_an_interruption_stops_the_answer_and_not_the_conversation(talker, monkeypatch, capsys):
    talk, written = conversation(talker), []

    def write(text):
        if len(written) == 3:
            written.append("^C")
            raise KeyboardInterrupt
        written.append(text)

    monkeypatch.setattr(fp_capstone.cli, "_write", write)
    said: list[str] = []
    fp_capstone.cli._answer(talk, "hello", said.append)
    assert said == ["\nstopped"]
    assert talk.messages[-1]["content"].startswith("".join(written[:3]))
    fp_capstone.cli._answer(talk, "how", said.append)
    assert said == ["\nstopped"] and written[-1] == "\n"


def test_on_a_terminal_nothing_that_a_model_writes_steers_it(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for out, shown in ((Terminal(), "a\ufffd[2J\tb\n\ufffd"), (io.StringIO(), "a\x1b[2J\tb\n\x9b")):
        monkeypatch.setattr(sys, "stdout", out)
        fp_capstone.cli._write("a\x1b[2J\tb\n\x9b")
        assert out.getvalue() == shown


def test_nothing_of_this_loads_automatic_differentiation_before_it_is_needed():
    script = (
        "import sys, fp_capstone, fp_capstone.cli, fp_capstone.chat, fp_capstone.pretrained, fp_capstone.inspection\n"
    )
    script += "print('fp_autograd' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


@pytest.mark.skipif(not SMOLLM2.present, reason="fp-capstone fetch smollm2 brings the file")
def test_smollm2_knows_the_capital_of_france():
    """In processes of their own, as people run it: without shapes enforced it is ten times faster."""

    def output(*arguments, given=None):
        return subprocess.run([*PROGRAM, *arguments], input=given, capture_output=True, text=True, check=True).stdout

    assert "Paris" in output("chat", "smollm2", "--greedy", given="What is the capital of France?")
    assert json.loads(output("inspect", "smollm2", "--json"))["numbers"]["parameters"] == 134_515_008
