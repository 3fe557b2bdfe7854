"""Operators that torchvision's wheel cannot bring beside a torch without CUDA, so that it can be imported."""

try:
    import torch
except ModuleNotFoundError:  # while the environment is being made
    pass
else:
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        operators = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            operators.define(f"{operator}(Tensor a) -> Tensor")
