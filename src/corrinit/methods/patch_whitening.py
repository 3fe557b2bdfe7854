"""Patch whitening: on training images, outputs of the first convolution are uncorrelated, of variance 1.

With E the eigenvectors of the covariance of image patches, Λ its eigenvalues in descending order and
W = (Λ + ε)^(−1/2) Eᵀ, the first filters are the rows of W, the next ones their negatives, as a ReLU keeps one
sign, and further blocks are random rotations Q W. All other convolutions are Kaiming normal.

Whitening of patches follows Coates & Ng; eigenvectors with their negatives as an initialization, and ε, are
those of airbench, where the filters stay fixed. That they train here, and the rotations, are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from corrinit._layers.weight_storage import writing_weight
from corrinit.errors import NeedsImagesError
from corrinit.methods import kaiming_normal
from corrinit.methods.method import Convolution, Method

EPSILON = 5e-4
"""Added to each eigenvalue, for images of variance 1: keeps the noise in patches that hardly vary small."""


@torch.no_grad()
def _whiten(model: nn.Module, convolutions: Sequence[Convolution], images: Tensor) -> None:
    first = convolutions[0]
    channels = first.shape[1] * first.groups
    if isinstance(first.module, _ConvTransposeNd) or channels != images.shape[1]:
        raise NeedsImagesError(
            f"patch_whitening needs a first convolution, not transposed, of the "
            f"{images.shape[1]} channels of the images; use lsuv or another method",
            layer=first.name,
        )
    drawn = first.module.weight
    assert isinstance(drawn, Tensor)
    rows = drawn.detach().flatten(1).double().cpu()
    groups = images.double().cpu().chunk(first.groups, dim=1)
    whitened = [
        _filters(_patches(channels, first), drawn_rows)
        for channels, drawn_rows in zip(groups, rows.split(first.rows), strict=True)
    ]
    with writing_weight(first.module) as weight:
        weight.copy_(torch.cat(whitened).view(first.shape))


def _filters(patches: Tensor, drawn: Tensor) -> Tensor:
    """Whitening filters of a group, one a row; rotations come from the Gaussian rows drawn before."""
    variances, vectors = torch.linalg.eigh(torch.cov(patches.T, correction=0))
    whitening = (vectors * (variances.clamp(min=0) + EPSILON).rsqrt()).T.flip(0)
    signed = torch.cat([whitening, -whitening])[: len(drawn)]
    rotated = [_rotation(block) @ whitening for block in drawn.split(len(whitening))[2:]]
    return torch.cat([signed, *rotated])


def _rotation(gaussian: Tensor) -> Tensor:
    """The orthonormal rows nearest to Gaussian ones: uniformly distributed over all rotations."""
    left, _, right = torch.linalg.svd(gaussian, full_matrices=False)
    return left @ right


def _patches(images: Tensor, convolution: Convolution) -> Tensor:
    """All patches inside the images that the kernel can see, shape (patches, channels · taps)."""
    axes = len(convolution.kernel_size)
    dilation: tuple[int, ...] = convolution.module.dilation  # pyright: ignore[reportAssignmentType]
    for axis, (taps, step) in enumerate(zip(convolution.kernel_size, dilation, strict=True), start=2):
        if images.shape[axis] <= (taps - 1) * step:
            raise NeedsImagesError(
                f"images of shape {tuple(images.shape[1:])} are smaller than its kernel; give larger ones",
                layer=convolution.name,
            )
        images = images.unfold(axis, (taps - 1) * step + 1, 1)[..., ::step]
    return images.movedim(1, 1 + axes).flatten(1 + axes).flatten(0, axes)


METHOD = Method(
    name="patch_whitening",
    source="Coates & Ng 2011, The importance of encoding versus training; Jordan 2024, 94 % on CIFAR-10",
    std=kaiming_normal.METHOD.std,
    draw=kaiming_normal.METHOD.draw,
    correlation=kaiming_normal.METHOD.correlation,
    adapt=_whiten,
)
