"""Weights of the Hugging Face hub: fetched only where the source says so, and always those of one commit.

    hf:OWNER/NAME[/FILE][@REVISION]   a repository of the hub, or one file in it
    timm:NAME[@REVISION]              a model of timm, such as timm:resnet18.a1_in1k, from timm/NAME
    torchvision:NAME[@REVISION]       the weights of torchvision that timm publishes, from timm/NAME.tv_in1k

Only safetensors are fetched, no pickles. A branch or a tag is looked up once; the source is then named by the
commit that it stood for, under which it stays the same for ever.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from corrinit._weights.libraries import needed
from corrinit.errors import HubError

_SOURCE = re.compile(r"(?P<where>hf|timm|torchvision):(?P<name>[^@\s]+)(@(?P<revision>\S+))?")
_INDEX = ".safetensors.index.json"
_USUAL = ("model.safetensors", f"model{_INDEX}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Fetched(NamedTuple):
    """A file of the hub: where it lies now, and what it is called, with its commit."""

    path: Path
    source: str


class _Wanted(NamedTuple):
    repository: str
    file: str
    revision: str | None


def is_on_hub(source: str) -> bool:
    """Whether a source names weights of the hub.

    >>> is_on_hub("hf:timm/resnet18.a1_in1k"), is_on_hub("timm/resnet18.a1_in1k")
    (True, False)
    """
    return _SOURCE.fullmatch(source) is not None


def fetch(source: str) -> Fetched:
    """The file of weights that a source names, from the cache of the hub's library or else from the network.

    Args:
        source: see the head of this module.

    Raises:
        WeightsError: if it cannot be had, there are no safetensors, or several and none is chosen.
        MissingPackageError: if the library `huggingface_hub` is not installed.
    """
    wanted = _wanted(source)
    hub = needed("huggingface_hub", "a name on the Hugging Face hub")
    listing = _ask(
        wanted, source, lambda: hub.HfApi().model_info(wanted.repository, revision=wanted.revision)
    )
    commit = str(listing.sha)
    if not _COMMIT.fullmatch(commit):
        raise HubError(f"{source}: the hub names no commit of it, only {commit:.40}")
    there = [entry.rfilename for entry in listing.siblings or ()]
    file = _file(wanted, there, source)

    def download(name: str) -> Path:
        return Path(
            _ask(wanted, source, lambda: hub.hf_hub_download(wanted.repository, name, revision=commit))
        )

    path = download(file)
    if file.endswith(_INDEX):
        folder = file.rpartition("/")[0]
        for shard in _shards(path, source):
            name = f"{folder}/{shard}" if folder else shard
            if name not in there or not name.endswith(".safetensors"):
                raise HubError(f"{source}: {file} names {shard}, which is no safetensors file beside it")
            download(name)
    inside = "" if file in _USUAL else f"/{file}"
    return Fetched(path, f"hf:{wanted.repository}{inside}@{commit}")


def _wanted(source: str) -> _Wanted:
    match = _SOURCE.fullmatch(source)
    if match is None:
        raise HubError(f"{source} is no name on the hub, as hf:OWNER/NAME, timm:NAME, torchvision:NAME")
    name, revision = match["name"], match["revision"]
    if match["where"] == "hf":
        owner, _, rest = name.partition("/")
        repository, _, file = rest.partition("/")
        if not owner or not repository:
            raise HubError(f"{source} has no owner or no name; write hf:OWNER/NAME, as in the hub's address")
        return _Wanted(f"{owner}/{repository}", file, revision)
    if match["where"] == "torchvision":
        return _Wanted(f"timm/{name}.tv_in1k", "", revision)
    return _Wanted(f"timm/{name}", "", revision)


def _ask(wanted: _Wanted, source: str, question: Callable[[], Any]) -> Any:
    try:
        return question()
    except Exception as error:  # of the hub's library, of that for HTTP below it, or of the system
        hint = ""
        if wanted.repository.startswith("timm/") and "." not in wanted.repository:
            hint = "; models of timm are named with the data they were trained on, as timm:resnet18.a1_in1k"
        if source.startswith("torchvision:"):
            hint = "; torchvision publishes pickles, which are not fetched: download one and give the file"
        raise HubError(
            f"{source} cannot be fetched from {wanted.repository} on the hub: "
            f"{type(error).__name__}: {error!s:.300}{hint}"
        ) from error


def _file(wanted: _Wanted, there: Sequence[str], source: str) -> str:
    """The file to fetch: the one that is named, else the one that is usual, else the only one."""
    weights = [name for name in there if name.endswith((".safetensors", _INDEX))]
    if wanted.file:
        if wanted.file not in weights:
            listed = f"there are {', '.join(weights[:6])}" if weights else "there are no safetensors at all"
            raise HubError(f"{source}: {wanted.repository} has no safetensors {wanted.file}; {listed}")
        return wanted.file
    usual = [name for name in _USUAL if name in weights]
    indices = [name for name in weights if name.endswith(_INDEX)]
    alone = indices or weights
    if usual or len(alone) == 1:
        return (usual or alone)[0]
    if weights:
        raise HubError(
            f"{source}: {wanted.repository} holds several files of weights: {', '.join(weights[:6])}; choose "
            f"one with hf:{wanted.repository}/{weights[0]}"
        )
    others = [name for name in there if name.endswith((".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack"))]
    holds = f", only {', '.join(others[:3])}, which is not fetched" if others else ""
    raise HubError(f"{source}: {wanted.repository} holds no safetensors{holds}")


def _shards(index: Path, source: str) -> Sequence[str]:
    try:
        return sorted(set(map(str, json.loads(index.read_bytes())["weight_map"].values())))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise HubError(f"{source}: its index of shards is damaged: {error!r}") from error
