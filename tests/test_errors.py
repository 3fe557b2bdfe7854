"""Errors: every one has a code, fields, and a page that shows the fix."""

import ast
import inspect
import pickle
import re
import tomllib
from pathlib import Path

import pytest

import corrinit
from corrinit import SpatialCorrelation, errors, kernels
from corrinit.cli import main
from corrinit.errors import CorrInitError, KernelMismatchError, PlanError, UnwritableWeightError, coded

SOURCE = Path(corrinit.__file__).parent
DOCUMENT = Path(__file__).parents[1] / "docs" / "errors.md"

INSIDE = {
    "__init__.py": {"AttributeError"},  # what Python asks of a module without a name
    "_arguments.py": {"TypeError"},
    "_reading.py": {"ValueError"},
    "_seeding.py": {"TypeError"},
    "_signal/shapes.py": {"ValueError"},
    "_signal/windows.py": {"ValueError"},
    "_spd.py": {"TypeError"},
    "_weights/containers.py": {"ValueError"},
    "_weights/flax_files.py": {"ValueError"},
    "_weights/inert_pickle.py": {"EOFError", "IndexError", "TypeError", "ValueError"},
    "_weights/onnx_constants.py": {"ValueError"},
    "_weights/tflite_files.py": {"ValueError"},
    "_weights/torch_files.py": {"ValueError"},
    "_planning/remembered.py": {"_UnknownError"},
    "cli/__init__.py": {"SystemExit"},
    "cli/runs.py": {"SystemExit"},
    "keras.py": {"NotImplementedError", "TypeError"},
    "lab/data/cifar.py": {"KeyError"},
    "lab/document/blocks.py": {"ValueError"},  # a table that the package itself has made wrongly
    "lab/runs/design.py": {"TypeError"},
    "lab/runs/record.py": {"KeyError"},  # a mapping without a key
    "lab/statistics/contrast.py": {"ValueError"},  # conditions that the package put together wrongly
}
"""Where errors of Python are raised: all but those with a reason are caught in the same room."""


def raises():
    """Each `raise` of the package with a new error: file, line, and the name of what is called."""
    for file in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(file.read_text())
        returns = {
            each.name: ast.unparse(each.returns)
            for each in ast.walk(tree)
            if isinstance(each, ast.FunctionDef) and each.returns is not None
        }
        for each in ast.walk(tree):
            if isinstance(each, ast.Raise) and each.exc is not None:
                called = each.exc.func if isinstance(each.exc, ast.Call) else each.exc
                name = ast.unparse(called)
                yield str(file.relative_to(SOURCE)), each.lineno, returns.get(name, name)


def test_every_error_that_is_raised_has_a_code():
    of_ours = {kind.__name__ for kind in coded().values()}
    passed_on = {"type(error)", "missing_library"}
    wrong = [
        f"{file}:{line} raises {name}"
        for file, line, name in raises()
        if name not in of_ours | passed_on | INSIDE.get(file, set())
    ]
    assert wrong == []


def test_every_code_is_of_an_error_that_is_raised():
    raised = {name for *_, name in raises()} | {"MissingLibraryError"}
    assert [kind.__name__ for kind in coded().values() if kind.__name__ not in raised] == []


def test_codes_are_given_once_and_their_pages_are_whole():
    kinds = list(coded().items())
    pages = [kind.page for kind in vars(errors).values() if inspect.isclass(kind) and "page" in vars(kind)]
    assert len([page for page in pages if page]) == len(kinds) > 40
    for code, kind in kinds:
        assert re.fullmatch(r"C\d{3}", code)
        assert kind.__doc__
        assert kind.__module__ == "corrinit.errors"
        assert kind.page.why.endswith(".")
        assert kind.page.fix.endswith(".")


@pytest.mark.parametrize(("code", "kind"), coded().items())
def test_examples_are_what_they_look_like(code, kind):
    example = inspect.cleandoc(kind.page.example)
    if example.startswith("["):
        tomllib.loads(example)
    elif not example.startswith("$"):
        ast.parse(example)


def test_the_document_is_written_from_the_classes():
    assert DOCUMENT.read_text() == errors.as_markdown(coded()), "corrinit explain --markdown docs/errors.md"


def test_an_error_has_fields():
    error = UnwritableWeightError("the weight is a view; clone it", layer="stem", shape=(8, 3, 3, 3))
    assert str(error) == "layer stem: the weight is a view; clone it [C302]"
    assert (error.code, error.layer, error.shape, error.remedy) == ("C302", "stem", (8, 3, 3, 3), "clone it")
    assert errors.RecordError("it is damaged").remedy == errors.RecordError.page.fix


@pytest.mark.parametrize("kind", coded().values())
def test_an_error_arrives_from_another_process_as_it_was(kind):
    error = kind("what is wrong; what to do", layer="stem", shape=(3, 3))
    arrived = pickle.loads(pickle.dumps(error))
    assert (type(arrived), str(arrived), vars(arrived)) == (type(error), str(error), vars(error))


def test_an_error_that_passes_another_on_leads_to_the_page_of_the_cause():
    cause = KernelMismatchError("the correlation is 4×4")
    assert str(PlanError(f"correlation: {cause}")) == "correlation: the correlation is 4×4 [C101]"
    assert (
        str(PlanError(f"{cause}, so nothing is drawn"))
        == "the correlation is 4×4, so nothing is drawn [C300]"
    )


def test_the_layer_and_the_shape_of_a_model_that_does_not_fit_are_told():
    from torch import nn

    with pytest.raises(PlanError) as raised:
        corrinit.initialize(
            nn.Sequential(nn.Conv2d(3, 8, 5)),
            correlation=SpatialCorrelation(kernels.exponential((3, 3), mean=0.3)),
        )
    assert raised.value.code == "C101"
    assert (raised.value.layer, raised.value.shape) == ("0", (8, 3, 5, 5))


def explained(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(["explain", *words])
    return ended.value.code or 0, *capsys.readouterr()


def test_explain_shows_the_fix(capsys):
    code, out, err = explained(capsys, "c102")
    assert (code, err) == (0, "")
    assert "SpatialCorrelation.nearest(matrix)" in out
    assert explained(capsys, "[C102]") == (0, out, "")


def test_explain_lists_all_codes(capsys):
    code, out, _ = explained(capsys)
    assert code == 0
    assert [line[:4] for line in out.splitlines()] == list(coded())


def test_a_code_that_there_is_not_is_one_line(capsys):
    code, out, err = explained(capsys, "C999")
    assert (code, out) == (2, "")
    assert err == "error: no error has the code 'C999'; corrinit explain lists those that there are [C401]\n"


def test_no_plug_in_takes_a_code():
    class Theirs(CorrInitError):
        page = PlanError.page

    assert coded()["C300"] is PlanError
    assert Theirs("x").code == "C300"
