"""Errors of weights to estimate from: files, state dicts, models and the hub."""

from __future__ import annotations

from corrinit.errors._base import CorrInitError, Page


class WeightsError(CorrInitError):
    """Weights are given in a form, or asked for with an option, that there is not."""

    page = Page(
        code="C200",
        why="Weights are a module, a mapping from names to arrays, or the path of a file; pooling and level "
        "are among those that the message names.",
        fix="Give one of these.",
        example="""
            corrinit.estimate(model.parameters())  # wrong
            corrinit.estimate(model)
            corrinit.estimate("weights.safetensors")
        """,
    )


class MissingWeightsError(WeightsError):
    """There is no such file of weights, or it cannot be opened."""

    page = Page(
        code="C201",
        why="The path leads to nothing, to a folder, a pipe or device, or to what you may not read.",
        fix="Check the path from the folder that you are in; of a folder, name the file of weights inside.",
        example="""
            $ ls checkpoints
            $ corrinit estimate checkpoints/model.safetensors
        """,
    )


class NotWeightsError(WeightsError):
    """A file or object holds no tensors by name."""

    page = Page(
        code="C202",
        why="What a file is, is told by its content. Programs (TorchScript), optimizers alone, archives, "
        "images and text hold no weights that can be read without running something.",
        fix="Save the state dict of the model, and name that file.",
        example="""
            torch.save(model, "model.pt")  # wrong: an object, for which code would have to run
            torch.save(model.state_dict(), "weights.pt")
        """,
    )


class DamagedWeightsError(WeightsError):
    """A file of weights is damaged, or made to look like one."""

    page = Page(
        code="C203",
        why="It was cut off, bits of it changed, or the sizes that it states are not those of its bytes. It "
        "was not read further: nothing in it was run, and nothing of the stated size was allocated.",
        fix="Fetch or save it again, and compare its size and checksum with those of the source.",
        example="""
            $ sha256sum weights.safetensors
        """,
    )


class NothingToEstimateError(WeightsError):
    """No layer tells anything of the correlation that is asked for."""

    page = Page(
        code="C204",
        why="A correlation is that of the taps of convolutions of one kernel size, which have to vary from "
        "filter to filter: single taps, transformers and taps that never train have none.",
        fix="Ask for a kernel size that is there, take other weights, or use a closed form.",
        example="""
            $ corrinit show weights.safetensors               # the kernel sizes by layer
            $ corrinit estimate weights.safetensors -k 5x5
        """,
    )


class WeightSetError(WeightsError):
    """A checkpoint holds several sets of weights, and not the one that is asked for."""

    page = Page(
        code="C205",
        why="Trainers keep averages, teachers and students beside the model.",
        fix="Name one of those that the message lists.",
        example="""
            corrinit.estimate("checkpoint.pt", weights="model_ema")
        """,
    )


class NoValuesError(WeightsError):
    """A parameter has no values yet, or none that can be read."""

    page = Page(
        code="C206",
        why="Lazy parameters get theirs in the first forward pass, those on the meta device when weights are "
        "loaded; sharded and sparse ones are not here as a whole.",
        fix="Give the model its values first.",
        example="""
            model(images)  # once, for lazy layers
            corrinit.estimate(model)
        """,
    )


class DivergedWeightsError(WeightsError):
    """Weights hold NaN, infinite or absurdly large values."""

    page = Page(
        code="C207",
        why="The training that they come from has diverged, or a number overflowed in half precision.",
        fix="Take weights from before, or leave the layer out.",
        example="""
            corrinit.estimate("checkpoint.pt", exclude="stem.*")
        """,
    )


class HubError(WeightsError):
    """Weights cannot be had from the hub."""

    page = Page(
        code="C208",
        why="The name is not there, needs a login, holds no safetensors or several, or the network is down.",
        fix="Look the repository up in a browser, and name one file of it; or fetch the file yourself.",
        example="""
            $ corrinit estimate hf:timm/resnet18.a1_in1k
            $ corrinit estimate hf:OWNER/NAME/model.safetensors
        """,
    )


class UnmatchedNameError(WeightsError):
    """A pattern of include or exclude matches no weight."""

    page = Page(
        code="C209",
        why="Patterns are globs over the names of the weights; one that matches nothing is a typing error.",
        fix="Take a name from those that the message shows.",
        example="""
            corrinit.estimate(model, include="layers1.*")  # wrong
            corrinit.estimate(model, include="layer1.*")
        """,
    )
