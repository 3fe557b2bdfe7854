"""Errors of models that are to be planned, drawn, watched or run. No parameter has been changed."""

from __future__ import annotations

from corrinit.errors._base import CorrInitError, Page
from corrinit.errors._settings import ConfigError


class PlanError(CorrInitError, ValueError):
    """A model cannot be initialized as asked."""

    page = Page(
        code="C300",
        why="An argument of initialize or plan has a value that there is not, or that does not go with the "
        "layer it is for.",
        fix="Give one of the values that the message names; see with plan what each layer would get.",
        example="""
            corrinit.initialize(model, scale="kaiming")  # wrong
            corrinit.initialize(model, scale="he")
            print(corrinit.plan(model))
        """,
    )


class UnknownLayerError(PlanError):
    """A name, pattern or type chooses no layer of the model."""

    page = Page(
        code="C301",
        why="It is most often a typing error, and what it was to exclude or change would be drawn unnoticed.",
        fix="Take the names from the model itself.",
        example="""
            corrinit.initialize(model, exclude="heads.*")  # wrong
            print([name for name, _ in model.named_modules()])
            corrinit.initialize(model, exclude="head.*")
        """,
    )


class UnwritableWeightError(PlanError):
    """A weight cannot be drawn in place."""

    page = Page(
        code="C302",
        why="Its memory is that of other numbers too (expanded, shared, a view), it was made in inference "
        "mode, is sparse or quantized, or is computed from others (parametrized).",
        fix="Give the layer an ordinary weight, remove the parametrization first, or exclude the layer.",
        example="""
            layer.weight = torch.nn.Parameter(layer.weight.detach().clone())
            corrinit.initialize(model)
        """,
    )


class OtherModelError(PlanError):
    """A plan is of another model than the one it is applied to."""

    page = Page(
        code="C303",
        why="A plan names layers and their shapes; it applies to any model that has the same ones.",
        fix="Plan the model that is to be drawn.",
        example="""
            corrinit.plan(model).apply(larger_model)  # wrong
            corrinit.plan(larger_model).apply(larger_model)
        """,
    )


class LazyParameterError(PlanError):
    """A parameter is lazy: it has no shape before the first forward pass."""

    page = Page(
        code="C304",
        why="The number of input channels, which the scale depends on, is not known yet.",
        fix="Run one forward pass, then initialize.",
        example="""
            model = nn.Sequential(nn.LazyConv2d(8, 3))
            model(images)
            corrinit.initialize(model)
        """,
    )


class ModelRunError(PlanError, ConfigError):
    """The model does not run on inputs of the given shape."""

    page = Page(
        code="C305",
        why="What a layer gets is measured or followed by running the model; its own code failed there.",
        fix="Give the shape, or a batch, that the model is made for; try it with one call of the model.",
        example="""
            model(torch.randn(2, 3, 32, 32))  # does this run?
            corrinit.plan(model, input_size=(3, 32, 32))
        """,
    )


class InputChannelsError(PlanError):
    """A convolution cannot be given other input channels as asked."""

    page = Page(
        code="C306",
        why="adapt_inputs needs a plain convolution without groups, and has to know which of the new "
        "channels is which of the old ones.",
        fix="Say for each new channel which old one it is, or None.",
        example="""
            corrinit.adapt_inputs(stem, channels=[0, 1, 2, None])
        """,
    )


class ActivationError(PlanError):
    """An activation has no gain: it is none, not elementwise, or leaves no signal."""

    page = Page(
        code="C307",
        why="The gain is 1 / sqrt(E[f(z)²]) of a function f of one normal number z.",
        fix="Give the name of one that is known, or a function that maps each value by itself.",
        example="""
            corrinit.initialize(model, nonlinearity=torch.softmax)  # wrong
            corrinit.initialize(model, nonlinearity=torch.nn.functional.silu)
        """,
    )


class NeedsImagesError(PlanError, ConfigError):
    """A method or scale looks at training images, and is given none that it can use."""

    page = Page(
        code="C308",
        why="LSUV, whitening and the scale measured are computed from what the layers really get.",
        fix="Give a batch of training images, standardized, of shape (N, C, H, W).",
        example="""
            corrinit.initialize(model, method="lsuv")  # wrong
            corrinit.initialize(model, method="lsuv", images=images)
        """,
    )


class OptimizerError(CorrInitError):
    """A monitor cannot watch an optimizer."""

    page = Page(
        code="C309",
        why="It updates none of the parameters of the model, or is no torch.optim.Optimizer with hooks.",
        fix="Build the optimizer on the model that is watched; give the optimizer inside a wrapper.",
        example="""
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            corrinit.GradientMonitor(model, optimizer)
        """,
    )
