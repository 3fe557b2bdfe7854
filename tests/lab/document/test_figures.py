import numpy as np

from corrinit.lab.document.figures import BLUE, Dots, Series, Style, curves, paired_dots


def test_names_that_look_like_mathematics_are_drawn_as_they_are():
    style = Style("correlated, R of $x_{$", BLUE, "-")
    assert "R of $x_{$" in curves("Accuracy", "a_{$", [Series(style, np.arange(3), np.zeros((2, 3)))]).svg
    assert "R of $x_{$" in paired_dots("Accuracy", "accuracy", [Dots(style, {0: 0.5, 1: 0.6})]).svg
