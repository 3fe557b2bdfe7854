"""Errors of configurations: values, names, files of experiments, and the user's own functions."""

from __future__ import annotations

from corrinit.errors._base import CorrInitError, Page


class ConfigError(CorrInitError, ValueError):
    """A value has the wrong type or form, or lies outside its range."""

    page = Page(
        code="C400",
        why="It would fail later, or run and mean something else.",
        fix="Give what the message says is needed.",
        example="""
            $ corrinit demo --seeds 0  # wrong
            $ corrinit demo --seeds 3
        """,
    )


class UnknownNameError(ConfigError):
    """There is nothing by this name."""

    page = Page(
        code="C401",
        why="Methods, models, data sets, settings, endpoints and tables are looked up by name, and a name "
        "that is not known would be ignored otherwise.",
        fix="Take the nearest of those that the message lists.",
        example="""
            $ corrinit compare model.py:build --methods kaiming  # wrong
            $ corrinit methods
            $ corrinit compare model.py:build --methods kaiming_normal
        """,
    )


class ConflictError(ConfigError):
    """Two settings exclude each other, or one is of no use without another."""

    page = Page(
        code="C402",
        why="One of them would be without effect, and the record of the run would say otherwise.",
        fix="Leave out one of the two that the message names, or set the other as well.",
        example="""
            RunConfig(optimizer="sgd", weight_decay=0.01)  # wrong
            RunConfig(optimizer="sgd", l2=0.01)
        """,
    )


class ExperimentFileError(ConfigError):
    """A file of settings is not there, no TOML, or has other tables than it should."""

    page = Page(
        code="C403",
        why="An experiment has one [base] and any number of [[cross]], with lists of values to cross; a plan "
        "has rules.",
        fix="Mend the line that the message names.",
        example="""
            [base]
            data = "digits"

            [[cross]]
            seed = [0, 1, 2]
        """,
    )


class FactoryError(ConfigError):
    """The factory of a model cannot be imported, fails, or makes something else."""

    page = Page(
        code="C404",
        why="MODULE:FACTORY or PATH.py:FACTORY is imported and called without arguments, and has to return a "
        "torch.nn.Module with as many outputs as there are classes.",
        fix="Write a function without arguments that builds your model.",
        example="""
            def build():
                return MyNetwork(classes=10)  # corrinit compare model.py:build
        """,
    )


class TrainingFunctionError(ConfigError):
    """A training function, or the function that builds its model, returned what cannot be compared."""

    page = Page(
        code="C405",
        why="Runs are compared by numbers: one, one for each epoch, or several by name, the same in each "
        "run.",
        fix="Return the score of the trained model.",
        example="""
            def train(model, seed):
                fit(model, seed)
                return {"accuracy": score(model)}
        """,
    )


class SharedStateError(ConfigError):
    """A run shares a model, or part of one, with an earlier run."""

    page = Page(
        code="C406",
        why="It would start from what the other has trained, or change it, and nothing could be compared.",
        fix="Build the model, its optimizer and scheduler anew in each call.",
        example="""
            corrinit.compare(train, methods, model=lambda: net)  # wrong
            corrinit.compare(train, methods, model=lambda: Net())
        """,
    )


class PluginError(ConfigError):
    """An initialization method of another package cannot be loaded."""

    page = Page(
        code="C407",
        why="Its entry point fails when it is imported, or gives no corrinit.methods.Method.",
        fix="Import the module by hand to see its error, and tell its authors.",
        example="""
            $ python -c "import the_package.the_module"
        """,
    )


class ValuesError(ConfigError):
    """Numbers that are to be computed with do not fit each other, are not finite, or too few."""

    page = Page(
        code="C408",
        why="A mean of NaN is NaN, and values that were not measured for the same seeds cannot be paired.",
        fix="Give finite numbers, as many on either side.",
        example="""
            paired([0.5, 0.6, 0.7], [0.4, 0.5])  # wrong
            paired([0.5, 0.6], [0.4, 0.5])
        """,
    )


class ResultsTableError(ConfigError):
    """A table of results is not there, or has columns or rows that cannot be judged."""

    page = Page(
        code="C409",
        why="A verdict rests on one number for each condition and seed: one that is missing, there twice "
        "or no number would be left out silently otherwise, and the rest is no fair sample.",
        fix="Name the columns of the table, and mend or leave out the rows that the message names.",
        example="""
            $ corrinit judge runs.csv --group method --seed seed --metric accuracy
        """,
    )


class StudyError(ConfigError):
    """A study file is damaged or was edited, or its runs are to be made otherwise than it says."""

    page = Page(
        code="C410",
        why="A result confirms what was said before it was seen, and nothing else: a plan that could still "
        "be changed, or seeds that were seen before, would confirm whatever one likes.",
        fix="Carry the study out as it is, or plan another one, which gets seeds of its own.",
        example="""
            $ corrinit compare --study study.toml --epochs 40  # wrong
            $ corrinit study plan --epochs 40 -o other.toml
            $ corrinit compare --study other.toml
        """,
    )
