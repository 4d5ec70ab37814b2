"""
Mirrors src/fp_workbook/exercises.py, and proves the grader on every exercise of every installed stage.

Each stub fails, each reference passes, each planted mistake fails with its own sentence: as files of a learner, graded
in a process of their own as `fp check` does. Beyond that each exercise keeps the form that its readers rely on. In an
environment that holds one stage and its ancestors these are the exercises of those stages.
"""

import ast
import doctest
import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import jaxtyping
import pytest

from fp_workbook import exercises, layering
from fp_workbook.answers import answers, same
from fp_workbook.grading import Session

SAMPLE = Path(__file__).parent / "sample" / "fp_sample" / "exercises"
INSTALLED = [stage for stage in layering.STAGES if find_spec(stage.replace("-", "_"))]
FOUND = [exercise for _, _, found in exercises.discover_all() for exercise in found]

each = pytest.mark.parametrize(
    "exercise",
    [pytest.param(e, id=e.id, marks=[pytest.mark.slow] if e.level == "project" else []) for e in FOUND],
)


@pytest.fixture
def module(exercise):
    """The exercise's module, without the run-time checks that a learner's process does not have either."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield importlib.import_module(exercise.module)
    jaxtyping.config.update("jaxtyping_disable", False)


# --- the proof of the grader


@pytest.mark.parametrize("stage", INSTALLED)
def test_a_finished_stage_has_exercises(stage):
    found = exercises.discover(stage.removeprefix("fp-"))
    if stage in layering.COMPLETE:
        assert found, f"{stage} is complete and has no exercise"
    assert [e.number for e in found] == list(range(1, len(found) + 1))
    assert len({e.title for e in found}) == len(found)


@each
def test_stub_fails_reference_passes_and_each_mistake_fails_with_its_own_sentence(exercise):
    path = f"/home/learner/exercises/{exercise.stage}/{exercise.file_name}"
    with Session(exercise) as session:
        stub = session.grade(exercise.stub(), path)
        assert (stub.kind, stub.passed) == ("unwritten", False), stub
        reference = session.grade(exercise.solution(), path)
        assert reference.passed, reference
        assert reference.seconds < session.limits.seconds / 2, "a learner's slower machine must be in time too"
        for mistake, sentence in exercise.mistakes:
            copy = f"names = {{}}\nexec({exercise.source!r}, names)\n"  # to import it is refused
            verdict = session.grade(f"{copy}{exercise.function} = names[{mistake!r}]\n", path)
            assert not verdict.passed, mistake
            assert verdict.kind in ("wrong", "exception"), (mistake, verdict)
            assert verdict.sentence, mistake
            assert verdict.misconception == sentence, (mistake, verdict)


# --- the form of an exercise


@each
def test_an_exercise_says_what_it_wants(exercise):
    assert exercise.title
    assert exercise.source.split('"""')[1].strip().split("\n")[0].endswith((".", "?", "!"))
    assert exercise.level in exercises.LEVELS
    assert len(exercise.statement) > 100, "the statement says what to do and why"
    assert 2 <= len(exercise.hints) <= 3
    assert all(isinstance(hint, str) and hint.strip() for hint in exercise.hints)
    assert len(set(exercise.hints)) == len(exercise.hints)


@each
def test_an_exercise_imports_numpy_and_stages_that_are_there(exercise):
    allowed = {"numpy", *(stage.replace("-", "_") for stage in INSTALLED)}
    named = {name for _, name in layering.imported_modules(exercise.source)} - sys.stdlib_module_names
    assert named <= allowed, f"{exercise.file_name} imports {sorted(named - allowed)}"


@each
def test_an_exercise_has_one_public_function_with_a_signature_and_a_docstring(exercise):
    functions = [n for n in ast.parse(exercise.source).body if isinstance(n, ast.FunctionDef)]
    (public,) = [f for f in functions if not f.name.startswith("_") and f.name != "check"]
    assert public.name == exercise.function
    assert ast.get_docstring(public), "the docstring is what the learner sees"
    parameters = [*public.args.posonlyargs, *public.args.args, *public.args.kwonlyargs]
    assert all(parameter.annotation for parameter in parameters)
    assert public.returns is not None


@each
def test_the_stub_is_the_statement_and_the_signature_without_the_answer(exercise):
    stub, reference = (ast.parse(text) for text in (exercise.stub(), exercise.source))
    assert ast.get_docstring(stub) == ast.get_docstring(reference)
    (given,) = [n for n in stub.body if isinstance(n, ast.FunctionDef) and n.name == exercise.function]
    (wanted,) = [n for n in reference.body if isinstance(n, ast.FunctionDef) and n.name == exercise.function]
    assert ast.dump(given.args) == ast.dump(wanted.args)
    assert ast.get_docstring(given) == ast.get_docstring(wanted)
    assert [ast.unparse(n) for n in given.body[1:]] == ["raise NotImplementedError"]
    assert "MISTAKES" not in exercise.stub()
    assert "HINTS" not in exercise.solution()


@each
def test_the_examples_of_a_stub_use_only_what_it_imports(exercise, module):
    """They hold in the learner's file too, once the function is written."""
    names = {}
    exec(compile(exercise.stub(), exercise.file_name, "exec", dont_inherit=True), names)
    names[exercise.function] = reference = getattr(module, exercise.function)
    examples = doctest.DocTestParser().get_doctest(reference.__doc__, names, exercise.function, None, None)
    said = []
    doctest.DocTestRunner(verbose=False).run(examples, out=said.append)
    assert not said, "".join(said)


@each
def test_planted_mistakes_are_told_apart_by_their_answers(exercise, module):
    assert len(exercise.mistakes) >= 3
    assert all(len(sentence.split()) >= 4 for _, sentence in exercise.mistakes), "a sentence names the misconception"
    assert len({sentence for _, sentence in exercise.mistakes}) == len(exercise.mistakes)
    assert [(f.__name__, sentence) for f, sentence in module.MISTAKES] == list(exercise.mistakes)
    assert all(name.startswith("_") for name, _ in exercise.mistakes)
    assert all(isinstance(arguments, tuple) for arguments in module.PROBES)

    functions = [getattr(module, exercise.function), *(mistake for mistake, _ in module.MISTAKES)]
    given = [answers(function, module.PROBES) for function in functions]
    for i, a in enumerate(given):
        assert same(a, answers(functions[i], module.PROBES)), f"{functions[i].__name__} answers otherwise each time"
        for j, b in enumerate(given[:i]):
            assert not same(a, b), f"{functions[j].__name__} and {functions[i].__name__} answer the probes alike"


@each
@pytest.mark.parametrize(
    "answer", [None, "nonsense", float("nan"), (), object()], ids=["None", "text", "nan", "()", "it"]
)
def test_a_check_answers_nonsense_with_a_sentence(exercise, module, answer):
    learner = SimpleNamespace(**{exercise.function: lambda *_, **__: answer})
    with pytest.raises(AssertionError) as caught:
        module.check(learner)
    assert len(str(caught.value).split()) >= 4, "the sentence says what was expected and what came"


@each
def test_a_check_lets_the_learners_own_error_through_or_answers_it(exercise, module):
    def fails(*_, **__):
        raise ZeroDivisionError("the learner's own")

    with pytest.raises((AssertionError, ZeroDivisionError)):
        module.check(SimpleNamespace(**{exercise.function: fails}))


@each
def test_a_check_does_not_trust_the_learner_with_its_data(exercise, module):
    """A learner who answers rightly and then spoils every array and list he was given passes, twice."""

    def spoils(*args, **kwargs):
        result = getattr(module, exercise.function)(*args, **kwargs)
        for argument in [*args, *kwargs.values()]:
            if isinstance(argument, list | dict | bytearray):
                argument.clear()
            elif hasattr(argument, "fill") and argument.flags.writeable and not _shares(argument, result):
                argument.fill(0)
        return result

    for _ in range(2):
        module.check(SimpleNamespace(**{exercise.function: spoils}))


def _shares(argument, result):
    numpy = sys.modules["numpy"]
    return isinstance(result, numpy.ndarray) and numpy.shares_memory(argument, result)


# --- reading an exercise


def read(name="e01_mean"):
    return exercises.Exercise.read(SAMPLE / f"{name}.py", "sample", "fp_sample")


def test_an_exercise_is_read_from_its_text():
    before = set(sys.modules)
    exercise = read()
    assert set(sys.modules) == before
    assert (exercise.id, exercise.title, exercise.level) == ("sample/01", "The mean of some numbers", "implement")
    assert exercise.statement.startswith("You need nothing but division.\n\nThe mean of")
    assert (exercise.function, exercise.file_name) == ("mean", "e01_mean.py")
    assert exercise.module == "fp_sample.exercises.e01_mean"
    assert [name for name, _ in exercise.mistakes] == ["_sum", "_median", "_zero_if_empty"]


def test_a_stub_holds_what_its_signature_needs():
    assert read().stub().partition('"""\n\n')[2] == (
        "import math\n"
        "from collections.abc import Sequence\n\n"
        "EMPTY = math.nan\n\n\n"
        "# Write this function. To have it graded: fp check sample/01. For a hint: fp hint sample/01.\n"
        "def mean(x: Sequence[float], empty: float = EMPTY) -> float:\n"
        '    """Sum over count; `empty` for no numbers."""\n'
        "    raise NotImplementedError\n"
    )


def test_a_solution_holds_what_the_reference_uses_and_its_comments():
    assert read().solution() == (
        "import math\n"
        "from collections.abc import Sequence\n\n"
        "EMPTY = math.nan\n\n\n"
        "def _count(x):\n"
        "    return len(x)\n\n\n"
        "def mean(x: Sequence[float], empty: float = EMPTY) -> float:\n"
        '    """Sum over count; `empty` for no numbers."""\n'
        "    if not _count(x):  # nothing to divide by\n"
        "        return empty\n"
        "    return sum(x) / _count(x)\n"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def mean", "def _mean"),
        ("def _count", "def count"),
        ("HINTS =", "_HINTS ="),
        ("MISTAKES = (", "MISTAKES = tuple("),
        ('(_sum, "You', '(lambda x: 0, "You'),
        ("return sum(x) / _count(x)", "return (sum(x)"),
    ],
)
def test_a_file_in_another_form_is_refused(tmp_path, old, new):
    file = tmp_path / "e01_mean.py"
    text = (SAMPLE / "e01_mean.py").read_text("utf8")
    assert old in text
    file.write_text(text.replace(old, new), "utf8")
    with pytest.raises(ValueError, match="is no exercise: it needs a docstring, HINTS and MISTAKES"):
        exercises.Exercise.read(file, "sample", "fp_sample")


def test_a_file_of_another_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"is called eNN_name\.py"):
        exercises.Exercise.read(tmp_path / "e1.py", "sample", "fp_sample")


def test_a_stage_that_is_not_installed_has_no_exercises():
    assert exercises.discover("nowhere") == []


def test_discovery_reads_and_imports_nothing(monkeypatch):
    monkeypatch.syspath_prepend(SAMPLE.parents[1])
    monkeypatch.setattr(exercises, "STAGES", ("fp-nowhere", "fp-sample"))
    before = set(sys.modules)
    ((number, stage, found),) = exercises.discover_all()
    assert set(sys.modules) == before
    assert (number, stage) == (2, "sample")
    assert [e.id for e in found] == ["sample/01", "sample/02"]
