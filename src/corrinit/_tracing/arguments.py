"""What a model is run on, so that its steps can be written down: found by trying.

A model says how many things it takes, not what they are. One of them is an image; for the others, and for
the entries of a mapping, an image, a number per example, tokens and vectors that fit a linear layer are tried
in turn.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from corrinit.errors import PlanError

BATCH = 2

_TOKENS = 16
"""Length of a sequence."""

_MOST_WIDTHS = 5
"""Widths of linear layers that vectors are tried in."""


class Stand(NamedTuple):
    """Something that a model may be run on.

    Args:
        kind: in words.
        shape: for a batch of `BATCH`; empty for a mapping.
        integer: whether it holds whole numbers.
    """

    kind: str
    shape: tuple[int, ...] = ()
    integer: bool = False

    def __str__(self) -> str:
        return f"{self.kind} of {'×'.join(map(str, self.shape[1:]))}" if len(self.shape) > 1 else self.kind


MAPPING = Stand("a mapping")


def image(shape: Sequence[int]) -> Stand:
    """An image, or a vector, of this shape with its batch."""
    return Stand("an image" if len(shape) > 2 else "a vector", tuple(shape))


def beside(first: Stand, modules: Mapping[str, nn.Module]) -> list[Stand]:
    """What a model may take beside its first input, or in a mapping, the likelier first.

    Args:
        first: its first input.
        modules: of the model; linear layers tell the widths of vectors, embeddings that there are tokens.
    """
    linear = dict.fromkeys(m.in_features for m in modules.values() if isinstance(m, nn.Linear))
    widths = list(islice(linear, _MOST_WIDTHS))
    return [
        *([first] if first.shape and not first.integer else []),
        Stand("a number per example", (BATCH,), integer=True),
        *(tokens(modules)),
        *(Stand("a vector", (BATCH, width)) for width in widths),
        *(Stand("a sequence", (BATCH, _TOKENS, width)) for width in widths),
    ]


def tokens(modules: Mapping[str, nn.Module]) -> list[Stand]:
    """Token numbers, for a model that embeds some."""
    embeds = any(isinstance(module, nn.Embedding) for module in modules.values())
    return [Stand("tokens", (BATCH, _TOKENS), integer=True)] if embeds else []


class Attempt:
    """One way to run a model: a choice for each thing that it asks for, in the order in which it asks.

    Args:
        path: which of the options is chosen for each; the first of them for what is asked for beyond it.
        first: options for the first input.
        others: options for what is asked for beside it.
        take: called with the name and tensor of each input that is made.
    """

    def __init__(
        self,
        path: Sequence[int],
        first: Sequence[Stand],
        others: Callable[[Stand], list[Stand]],
        take: Callable[[str, Stand, Tensor], None],
    ) -> None:
        self._path, self._first, self._others, self._take = list(path), first, others, take
        self._options: list[Sequence[Stand]] = []
        self.taken: list[tuple[str, Stand]] = []

    @property
    def main(self) -> Stand:
        """What the first input is."""
        return self._first[self._path[0] if self._path else 0]

    def call(self, model: nn.Module) -> Any:
        """Run a model on what its signature asks for."""
        try:
            asked = inspect.signature(model.forward).parameters.values()
        except (TypeError, ValueError):
            asked = ()
        named = [p for p in asked if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY, p.POSITIONAL_ONLY)]
        needed = [p for p in named if p.default is p.empty] or named[:1]
        positional = [self.give(p.name) for p in needed if p.kind is not p.KEYWORD_ONLY]
        by_name = {p.name: self.give(p.name) for p in needed if p.kind is p.KEYWORD_ONLY}
        return model(*positional, **by_name) if needed else model(self.give("input"))

    def give(self, name: str) -> Any:
        """Something for what the model calls by this name."""
        place = len(self._options)
        likely = self._first[0] if self.main == MAPPING else self.main
        self._options.append(self._others(likely) if place else self._first)
        if place == len(self._path):
            self._path.append(0)
        chosen = self._options[place][self._path[place]]
        self.taken.append((name, chosen))
        if chosen == MAPPING:
            return _Asked(self.give)
        made = torch.zeros if chosen.integer else torch.empty
        tensor = made(chosen.shape, dtype=torch.long if chosen.integer else None, device="meta")
        self._take(name, chosen, tensor)
        return tensor

    def next_path(self) -> list[int] | None:
        """The choices to try next: another one for what was asked for last; None after all of them."""
        path = self._path[: len(self._options)]
        while path:
            if path[-1] + 1 < len(self._options[len(path) - 1]):
                return [*path[:-1], path[-1] + 1]
            path.pop()
        return None

    @property
    def note(self) -> str:
        """What was guessed, in words; empty where the model takes an image or a vector alone."""
        if len(self.taken) == 1 and not self.main.integer and self.main != MAPPING:
            return ""
        return "inputs guessed: " + ", ".join(f"{name} is {what}" for name, what in self.taken)


class _Asked(dict[str, Any]):
    """A mapping that holds whatever is asked for by its key."""

    def __init__(self, give: Callable[[str], Any]) -> None:
        super().__init__()
        self._give = give

    def __missing__(self, key: str) -> Any:
        if not isinstance(key, str):
            raise PlanError(f"a mapping is asked for {key!r}, which is no name")
        self[key] = self._give(key)
        return self[key]
