"""Errors of data sets and images."""

from __future__ import annotations

from corrinit.errors._base import CorrInitError, Page


class DataError(CorrInitError):
    """A data set cannot be found or read."""

    page = Page(
        code="C500",
        why="The operating system does not give a file or folder of it.",
        fix="See to the disk and the permissions of what the message names.",
        example="""
            $ ls -l images
        """,
    )


class MissingDataError(DataError):
    """A data set, or a part of one, is not there."""

    page = Page(
        code="C501",
        why="folder:DIR needs a sub-folder for each class, in train/ and test/ or in neither; parquet:DIR "
        "needs train-* and test-*; cifar10 and cifar100 are downloaded once, or looked for in "
        "CORRINIT_DATA.",
        fix="Put the files where the message says that they are missing.",
        example="""
            $ ls images
            cats  dogs
            $ corrinit demo --data folder:images
        """,
    )


class DamagedDataError(DataError):
    """A file of a data set is damaged, or of another kind than it should be."""

    page = Page(
        code="C502",
        why="Images are PNG, JPEG, GIF, BMP, TIFF, WebP or PPM, in columns of bytes or files of their own. "
        "Others are not decoded, since some decoders run programs.",
        fix="Remove or replace the file, or write the column anew.",
        example="""
            $ file images/cats/1.png
        """,
    )


class ImageShapeError(DataError):
    """Images have the wrong shape, size, type or values."""

    page = Page(
        code="C503",
        why="A network gets arrays (N, C, H, W) of one size; a correlation needs pixels that differ and are "
        "finite.",
        fix="Resize the images to one size, and convert them to 8 bits per channel.",
        example="""
            $ mogrify -resize '64x64!' images/*/*.png
        """,
    )


class LabelError(DataError):
    """Labels are no classes, or too few of them."""

    page = Page(
        code="C504",
        why="Classes are numbered from 0, at least two of them, with images to train and to test on.",
        fix="Correct the labels or the class names.",
        example="""
            table["label"] = [names.index(name) for name in table["name"]]
        """,
    )
