"""Which of the sets of weights in a checkpoint is meant.

Training scripts wrap a state dict in others, and keep averages of the weights, teachers or second networks
beside it. Sets of the same layers are one network twice: one is taken, and said. Sets of different layers are
different networks: those are listed, and one has to be chosen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from corrinit._arrays import is_array
from corrinit._weights.filters import find_filters
from corrinit._weights.inert_pickle import Foreign
from corrinit._weights.stored_parts import put_together
from corrinit._weights.stored_tensor import LeftOut, StoredTensor, Tensors, in_memory, unreadable
from corrinit.errors import NotWeightsError, WeightsError, WeightSetError, warn_caller

_PREFERRED = ("state_dict", "model_state_dict", "model", "model.state_dict", "module", "net", "network", "")
_DEEPEST = 3
_NO_WEIGHTS = re.compile(
    r"optim|scheduler|scaler|^opt$|^args?$|^config|hyper|_rng|^rng|^grad|callback_metrics|^loops$|^history$",
    re.IGNORECASE,
)
_AVERAGE = re.compile(
    r"(?<![a-z])(ema|swa|avg|averaged?|shadow|teacher|target|momentum|moving|polyak)(?![a-z])"
    r"|(?<=encoder)_k(?![a-z])",
    re.IGNORECASE,
)
_ORIGINALS = ("", "student", "online", "source", "base", "_q")
"""What stands in the name of a layer where that of its average says so."""

_REBUILD = "torch._utils._rebuild_"
_UNKNOWN_SHAPE = (0, 0, 0)
"""Of a tensor that may be filters, so that it is listed with what was left out."""

_WRAPPERS = ("module", "orig_mod", "forward_module", "model", "net", "network")


def choose_weights(
    checkpoint: Any, where: str, choice: str | None = None
) -> tuple[dict[str, StoredTensor], list[LeftOut]]:
    """One state dict of those in a checkpoint, each layer once; and the tensors of its copies.

    Args:
        checkpoint: nested mappings, tensors among their values.
        where: what it is, for messages.
        choice: the set to take, by its keys joined by points, such as `"state_dict_ema"`, or by the first
            part of the names of its tensors; None: the one that is trained, not its average.

    Raises:
        WeightsError: if there are no tensors, several networks and no choice, or none of the name chosen.
    """
    if not isinstance(checkpoint, Mapping):
        raise NotWeightsError(f"{where} holds {_in_words(checkpoint)}, not a state dict")
    every = _sets(checkpoint)
    sets = (
        {key: tensors for key, tensors in every.items() if find_filters(put_together(tensors)[0]).filters}
        or {key: tensors for key, tensors in every.items() if _layers(tensors)}
        or every
    )
    if not sets:
        raise _no_tensors(checkpoint, where)
    if choice is not None:
        return _chosen(sets, where, choice), []
    key = _main(sets, where)
    return _without_averages(sets[key])


def _sets(checkpoint: Mapping[Any, Any]) -> dict[str, dict[str, StoredTensor]]:
    """Every mapping from texts to tensors, by its keys from the outside in, each mapping once."""
    found: dict[str, dict[str, StoredTensor]] = {}
    seen: set[int] = set()

    def walk(mapping: Mapping[Any, Any], path: str, depth: int) -> None:
        seen.add(id(mapping))
        own = {
            name: _stored(value)
            for name, value in mapping.items()
            if isinstance(name, str) and _is_tensor(value)
        }
        if own:
            arrays = {name: _unread(value) for name, value in mapping.items() if _is_pickled_array(value)}
            found[path] = own | {name: each for name, each in arrays.items() if isinstance(name, str)}
        for key, value in mapping.items() if depth < _DEEPEST else ():
            inside = isinstance(value, Mapping) and id(value) not in seen
            if inside and isinstance(key, str) and not _NO_WEIGHTS.search(key):
                walk(value, f"{path}.{key}" if path else key, depth + 1)

    walk(checkpoint, "", 0)
    return found


def _is_tensor(value: Any) -> bool:
    return isinstance(value, StoredTensor) or is_array(value) or _is_other_tensor(value)


def _is_other_tensor(value: Any) -> bool:
    """Whether it is a tensor of torch in a file that does not hold its values one after the other."""
    return isinstance(value, Foreign) and str(value).startswith(_REBUILD)


def _is_pickled_array(value: Any) -> bool:
    return isinstance(value, Foreign) and str(value).startswith("numpy.") and "scalar" not in str(value)


def _stored(value: Any) -> StoredTensor:
    if isinstance(value, Foreign):
        return _unread(value)
    return value if isinstance(value, StoredTensor) else in_memory(value)


def _unread(value: Foreign) -> StoredTensor:
    kind = str(value).removeprefix(_REBUILD).replace("_", " ") if _is_other_tensor(value) else "numpy array"
    return unreadable(_UNKNOWN_SHAPE, f"it is a {kind}, and only plain tensors with values are read")


def _layers(tensors: Tensors) -> dict[str, tuple[int, ...]]:
    """The shapes of what has three axes or more, by names without the marks of wrappers."""
    return {_bare(name): tensor.shape for name, tensor in tensors.items() if len(tensor.shape) >= 3}


def _main(sets: Mapping[str, Tensors], where: str) -> str:
    """The set that is trained: the only one, or of several of the same layers the one that is no average."""
    if len(sets) == 1:
        return next(iter(sets))
    originals = [key for key in sets if not _AVERAGE.search(key)] or list(sets)
    known = [key for key in _PREFERRED if key in originals]
    key = known[0] if known else originals[0]
    others = [other for other in sets if other != key]
    different = [other for other in others if _layers(sets[other]) != _layers(sets[key])]
    if different and not known:
        raise WeightSetError(
            f"{where} holds several sets of weights: {_listed(sets)}; choose one with "
            f"weights={originals[0]!r} (--weights {originals[0]})"
        )
    warn_caller(
        f"{where} holds several sets of weights: {_listed(sets)}; {_named(key)} is taken, another can be "
        f"chosen with weights={others[0]!r} (--weights {others[0]})"
    )
    return key


def _chosen(sets: Mapping[str, dict[str, StoredTensor]], where: str, choice: str) -> dict[str, StoredTensor]:
    if choice in sets:
        return sets[choice]
    prefix = choice.removesuffix(".") + "."
    for tensors in sets.values():
        if inside := {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}:
            return inside
    names = [*sets, *{name.partition(".")[0] for tensors in sets.values() for name in tensors}]
    near = get_close_matches(choice, names, n=3, cutoff=0.4) or sorted(filter(None, names))[:3]
    raise WeightSetError(
        f"{where} holds no set of weights {choice!r}; there are {', '.join(map(_named, near))}"
    )


def _without_averages(tensors: dict[str, StoredTensor]) -> tuple[dict[str, StoredTensor], list[LeftOut]]:
    """Without the averages that lie among the weights, under names that differ by a mark such as `ema`."""
    by_name = {(_bare(name), tensor.shape): name for name, tensor in reversed(tensors.items())}
    copies: dict[str, str] = {}
    for name, tensor in tensors.items():
        if len(tensor.shape) >= 3 and _AVERAGE.search(name):
            candidates = [_bare(_AVERAGE.sub(word, name, count=1)) for word in _ORIGINALS]
            original = next(
                (by_name[c, tensor.shape] for c in candidates if (c, tensor.shape) in by_name), name
            )
            if original != name:
                copies[name] = original
    if copies:
        name = next(iter(copies))
        prefix = name[: _AVERAGE.search(name).end()]  # pyright: ignore[reportOptionalMemberAccess]
        warn_caller(
            f"layers occur twice, {name} beside {copies[name]}: averages of the weights are left out; "
            f"take them alone with weights={prefix!r} (--weights {prefix})"
        )
    kept = {name: tensor for name, tensor in tensors.items() if name not in copies}
    return kept, [LeftOut(name, "it is an average of other weights") for name in copies]


def _bare(name: str) -> str:
    """A name without points and the words of wrappers, as copies are stored under other ones or none."""
    parts = [part.strip("_") for part in re.split(r"[./]", name)]
    return "".join(part for part in parts if part not in _WRAPPERS).replace("_", "")


def _listed(sets: Mapping[str, Tensors]) -> str:
    shown = [f"{_named(key)} ({len(tensors)} tensors)" for key, tensors in list(sets.items())[:6]]
    return ", ".join(shown) + (f" and {len(sets) - 6} more" if len(sets) > 6 else "")


def _named(key: str) -> str:
    return key[:80] or "the tensors outside of all"


def _no_tensors(checkpoint: Mapping[Any, Any], where: str) -> WeightsError:
    objects = [(key, value) for key, value in checkpoint.items() if isinstance(value, Foreign)]
    if isinstance(checkpoint, Foreign):
        objects = [("", checkpoint)]
    for key, value in objects:
        if value.state is not None or not value:
            name = f" as {key!r:.40}" if key else ""
            return WeightsError(
                f"{where} holds {_in_words(value)}{name}, which is loaded by running code in the file and is "
                "not read; save it anew as a state dict: torch.save(model.state_dict(), path)"
            )
    keys = ", ".join(f"{key!r:.40}" for key in list(checkpoint)[:5]) or "none"
    return WeightsError(f"{where} holds no tensors by name, nor a state dict inside; its keys: {keys}")


def _in_words(value: Any) -> str:
    if isinstance(value, Foreign):
        return f"an object of {str(value)[:80]}"
    return "a tensor alone" if _is_tensor(value) else f"a {type(value).__name__}"
