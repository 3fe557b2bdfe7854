"""What modules and functions of torch do to a signal: their kinds, their arguments, their output shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import activation, batchnorm, dropout, instancenorm, padding, pooling
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from corrinit._signal.graph import Kind
from corrinit._signal.windows import per_axis

_NOT_ELEMENTWISE = (
    nn.MultiheadAttention, nn.GLU, nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin,
)  # fmt: skip
_ACTIVATIONS = tuple(
    cls for name in activation.__all__ if (cls := getattr(activation, name)) not in _NOT_ELEMENTWISE
)

_OF_CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.FeatureAlphaDropout)
"""What drops whole channels."""

MODULE_KINDS: tuple[tuple[tuple[type[nn.Module], ...], Kind], ...] = (
    ((_ConvTransposeNd,), "transposed_conv"),
    ((_ConvNd,), "conv"),
    ((nn.Linear,), "linear"),
    (_ACTIVATIONS, "activation"),
    ((instancenorm._InstanceNorm,), "instance_norm"),
    ((batchnorm._BatchNorm,), "batch_norm"),
    ((nn.LayerNorm,), "layer_norm"),
    ((nn.GroupNorm,), "group_norm"),
    ((nn.RMSNorm,), "rms_norm"),
    ((pooling._MaxPoolNd,), "max_pool"),
    ((pooling._AvgPoolNd,), "avg_pool"),
    ((pooling._AdaptiveMaxPoolNd,), "adaptive_max_pool"),
    ((pooling._AdaptiveAvgPoolNd,), "adaptive_avg_pool"),
    ((dropout._DropoutNd,), "dropout"),
    ((nn.Identity,), "identity"),
    ((nn.Flatten,), "flatten"),
    ((nn.Upsample,), "upsample"),
    (
        (padding._ConstantPadNd, padding._ReflectionPadNd, padding._ReplicationPadNd, padding._CircularPadNd),
        "pad",
    ),
    ((nn.MultiheadAttention,), "attention"),
    ((nn.Embedding, nn.EmbeddingBag), "embedding"),
)  # fmt: skip

FUNCTION_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), "conv"),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), "transposed_conv"),
    "linear": "linear",
    **dict.fromkeys(
        (
            "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "sigmoid", "tanh",
            "hardtanh", "hardswish", "hardsigmoid", "softplus", "softsign", "logsigmoid", "tanhshrink",
            "softshrink", "hardshrink", "threshold", "rrelu", "prelu", "clamp", "clip", "clamp_min",
            "clamp_max", "abs", "absolute", "square", "exp", "expm1", "log", "log1p", "sin", "cos", "erf",
            "atan", "sqrt", "rsqrt", "sign", "pow",
        ),
        "activation",
    ),
    "batch_norm": "batch_norm",
    "layer_norm": "layer_norm",
    "group_norm": "group_norm",
    "instance_norm": "instance_norm",
    "rms_norm": "rms_norm",
    **dict.fromkeys(
        tuple(f"max_pool{d}d{end}" for d in (1, 2, 3) for end in ("", "_with_indices")), "max_pool"
    ),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), "avg_pool"),
    **dict.fromkeys(tuple(f"adaptive_max_pool{d}d" for d in (1, 2, 3)), "adaptive_max_pool"),
    **dict.fromkeys(tuple(f"adaptive_avg_pool{d}d" for d in (1, 2, 3)), "adaptive_avg_pool"),
    **dict.fromkeys(("add", "sub", "subtract", "rsub"), "add"),
    **dict.fromkeys(("mul", "multiply", "div", "divide", "true_divide"), "mul"),
    "neg": "scale",
    **dict.fromkeys(("cat", "concat", "concatenate", "stack", "hstack", "vstack"), "concat"),
    **dict.fromkeys(
        ("getitem", "chunk", "split", "split_with_sizes", "tensor_split", "narrow", "unbind", "select",
         "index_select"),
        "slice",
    ),
    **dict.fromkeys(("interpolate", "upsample", "upsample_nearest", "upsample_bilinear"), "upsample"),
    "pad": "pad",
    "flatten": "flatten",
    **dict.fromkeys(
        ("reshape", "view", "view_as", "reshape_as", "permute", "transpose", "swapaxes", "movedim",
         "moveaxis", "t", "T", "mT", "squeeze", "unsqueeze", "unflatten", "pixel_shuffle", "pixel_unshuffle",
         "channel_shuffle", "roll", "flip", "expand", "expand_as", "repeat", "unfold"),
        "reshape",
    ),
    "mean": "mean",
    **dict.fromkeys(
        ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout",
         "feature_dropout"),
        "dropout",
    ),
    **dict.fromkeys(
        ("to", "float", "half", "bfloat16", "type", "type_as", "contiguous", "clone", "detach", "cpu", "cuda",
         "requires_grad", "alias", "nan_to_num"),
        "identity",
    ),
    **dict.fromkeys(("scaled_dot_product_attention", "multi_head_attention_forward"), "attention"),
    "embedding": "embedding",
}  # fmt: skip


@dataclass(frozen=True)
class Replay:
    """A function of one tensor with its other arguments fixed, as a model called it."""

    function: Callable[..., Tensor]
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, values: Tensor) -> Tensor:
        """The function of these values."""
        return self.function(values, *self.arguments, **self.options)


def module_kind(module: nn.Module) -> Kind | None:
    """The kind of a module that is one step; None if it has to be looked into.

    A module with modules of its own does more than its base class (timm's `BatchNormAct2d` activates, too);
    parametrizations do not count.
    """
    if {name for name, _ in module.named_children()} - {"parametrizations"} and not isinstance(
        module, nn.MultiheadAttention
    ):
        return None
    for classes, kind in MODULE_KINDS:
        if isinstance(module, classes):
            return kind
    return None


def function_name(function: Callable[..., Any]) -> str:
    """The plain name of a function of torch: `add` for `torch.add`, `Tensor.add_`, `__radd__`, `__iadd__`.

    A property is known by the name of its attribute.
    """
    name = getattr(function, "__name__", "")
    if name == "__get__":
        name = getattr(getattr(function, "__self__", None), "__name__", "")
    if name.startswith("__") and name.endswith("__"):
        name = name.strip("_")
        for prefix in ("r", "i"):
            if name not in FUNCTION_KINDS and name[:1] == prefix and name[1:] in (*FUNCTION_KINDS, "truediv"):
                name = name[1:]
        name = {"truediv": "div"}.get(name, name)
    return name.rstrip("_")


def module_arguments(module: nn.Module, kind: Kind) -> dict[str, Any]:
    """The arguments of a module that decide what it does to a signal."""
    if isinstance(module, _ConvNd):
        size, dilation = tuple(module.kernel_size), per_axis(module.dilation, len(module.kernel_size))
        arguments: dict[str, Any] = {
            "in_channels": module.in_channels,
            "out_channels": module.out_channels,
            "kernel_size": size,
            "stride": per_axis(module.stride, len(size)),
            "padding": _padding_pairs(module.padding, size, dilation),
            "dilation": dilation,
            "groups": module.groups,
            "padding_mode": module.padding_mode,
        }
        transposed = isinstance(module, _ConvTransposeNd)
        return arguments | ({"output_padding": tuple(module.output_padding)} if transposed else {})
    if isinstance(module, nn.Linear):
        return {"in_features": module.in_features, "out_features": module.out_features}
    names = {
        "layer_norm": ("normalized_shape", "eps"),
        "rms_norm": ("normalized_shape", "eps"),
        "group_norm": ("num_groups", "eps"),
        "batch_norm": ("eps",),
        "instance_norm": ("eps",),
        "max_pool": ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
        "avg_pool": ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
        "adaptive_max_pool": ("output_size", "return_indices"),
        "adaptive_avg_pool": ("output_size",),
        "dropout": ("p",),
        "flatten": ("start_dim", "end_dim"),
        "upsample": ("size", "scale_factor", "mode", "align_corners"),
        "pad": ("padding",),
    }.get(kind, ())
    arguments = {name: getattr(module, name) for name in names if hasattr(module, name)}
    if kind == "pad":
        arguments["mode"] = _padding_mode(module)
    if kind == "dropout":
        arguments["channels"] = isinstance(module, _OF_CHANNELS)
    return arguments


_SIGNATURES: dict[str, tuple[str, ...]] = {
    "layer_norm": ("normalized_shape", "weight", "bias", "eps"),
    "rms_norm": ("normalized_shape", "weight", "eps"),
    "group_norm": ("num_groups", "weight", "bias", "eps"),
    "batch_norm": ("running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
    "max_pool": ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
    "avg_pool": ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    "adaptive_max_pool": ("output_size", "return_indices"),
    "adaptive_avg_pool": ("output_size",),
    "upsample": ("size", "scale_factor", "mode", "align_corners"),
    "pad": ("padding", "mode"),
    "dropout": ("p",),
    "mean": ("dim", "keepdim"),
    "concat": ("dim",),
    "flatten": ("start_dim", "end_dim"),
}


def function_arguments(kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a function that decide what it does to a signal, by the names of the module."""
    if kind in ("conv", "transposed_conv"):
        return _convolution_arguments(kind, args, kwargs)
    if kind == "linear":
        weight = args[1] if len(args) > 1 else kwargs["weight"]
        return {"in_features": weight.shape[1], "out_features": weight.shape[0]}
    names = _SIGNATURES.get(kind, ())
    given = dict(zip(names, args[1:], strict=False)) | {k: v for k, v in kwargs.items() if k in names}
    if kind == "pad":
        given.setdefault("mode", "constant")
    return {k: v for k, v in given.items() if not isinstance(v, Tensor)}


def _convolution_arguments(kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    names = ("input", "weight", "bias", "stride", "padding")
    names += ("output_padding", "groups", "dilation") if kind == "transposed_conv" else ("dilation", "groups")
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    weight = given["weight"]
    axes = weight.dim() - 2
    groups = given.get("groups", 1)
    size = tuple(weight.shape[2:])
    dilation = per_axis(given.get("dilation", 1), axes)
    transposed = kind == "transposed_conv"
    arguments = {
        "in_channels": weight.shape[0] if transposed else weight.shape[1] * groups,
        "out_channels": weight.shape[1] * groups if transposed else weight.shape[0],
        "kernel_size": size,
        "stride": per_axis(given.get("stride", 1), axes),
        "padding": _padding_pairs(given.get("padding", 0), size, dilation),
        "dilation": dilation,
        "groups": groups,
        "padding_mode": "zeros",
    }
    return arguments | (
        {"output_padding": per_axis(given.get("output_padding", 0), axes)} if transposed else {}
    )


def _padding_pairs(amounts: Any, size: Sequence[int], dilation: Sequence[int]) -> tuple[tuple[int, int], ...]:
    if isinstance(amounts, str):
        reach = [d * (k - 1) if amounts == "same" else 0 for d, k in zip(dilation, size, strict=True)]
        return tuple((r // 2, r - r // 2) for r in reach)
    return tuple((p, p) for p in per_axis(amounts, len(size)))


def _padding_mode(module: nn.Module) -> str:
    for cls, mode in (
        (padding._ReflectionPadNd, "reflect"),
        (padding._ReplicationPadNd, "replicate"),
        (padding._CircularPadNd, "circular"),
    ):
        if isinstance(module, cls):
            return mode
    return "constant"
