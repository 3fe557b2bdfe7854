"""What identifies a run, apart from the names and types of the code: a frozen form, and a hash of it.

Two runs have one id exactly if they must come out alike. The form under the hash has keys, values and
defaults of its own, written out here, and nothing else in the code may change them: a setting that is renamed
keeps its key, a value that is renamed its name, and a setting that comes later enters only where it differs
from what every run did before. So ids, and the records that they name, outlive the code.

What no setting tells, how a configuration becomes weights and updates, is the protocol: a number that is part
of the form. It is that of the newest of the `CHANGES` that touches the configuration, so a change makes new
runs of those that come out differently, and of no others.

`docs/run-identity.md` says how to rename or add a setting and how to raise the protocol.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from corrinit._correlation import SpatialCorrelation, default_correlation
from corrinit.lab.experiment.arm import Initialization
from corrinit.lab.experiment.role_rules import RoleRule

if TYPE_CHECKING:
    from corrinit.lab.experiment.config import RunConfig

ALWAYS: Final = object()
"""In place of a default: the setting is part of every id."""


@dataclass(frozen=True, eq=False)
class Key:
    """A setting in the frozen form.

    Args:
        key: its name there, for ever.
        attribute: its name in the code today; empty if that is the key.
        default: what every run did before there was the setting; a run that still does has the id it had.
        renamed: the values that the code calls otherwise than the form does: from the name in the form to
            those accepted today, of which the code uses the first.
    """

    key: str
    attribute: str = ""
    default: object = ALWAYS
    renamed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the code calls it."""
        return self.attribute or self.key

    def frozen(self, value: object) -> object:
        """A value of today as the form has it."""
        return next((old for old, new in self.renamed.items() if value in new), value)

    def today(self, value: object) -> object:
        """A recorded value, by whatever name, as the code has it."""
        names = next((new for old, new in self.renamed.items() if value in (old, *new)), ())
        return names[0] if names else value


RUN: Final[tuple[Key, ...]] = (
    Key("data"),
    Key("train_subset"),
    Key("tested_on"),
    Key("model"),
    Key("architecture"),
    Key("width"),
    Key("batch_norm"),
    Key("epochs"),
    Key("batch_size"),
    Key("lr"),
    Key("momentum"),
    Key("l2"),
    Key("precision"),
    Key("channels_last"),
    Key("seed"),
    Key("resample", default=False),
    Key("augmentation", default="none"),
    Key("schedule", default="constant"),
    Key("warmup", default=0.0),
    Key("optimizer", default="sgd"),
    Key("weight_decay", default=0.0),
    Key("dropout", default=0.0),
    Key("noise", default=0.0),
)
"""The settings of a run but its arm. Those above are in every id; a later one has a `default`."""

ARM: Final[tuple[Key, ...]] = (
    Key("method"),
    Key("scale", renamed={"correlated": ("paper",)}),
    Key("correlation"),
    Key("strength"),
    Key("rules", default=()),
)
"""The settings of the arm, under the key `initialization`; R and α where the arm depends on them."""


@dataclass(frozen=True)
class Change:
    """A change of the code after which some configurations come out differently.

    Args:
        number: the protocol of what it touches, from then on.
        what: it changed, in a line.
        touches: whether the weights or the updates of a configuration changed.
    """

    number: int
    what: str
    touches: Callable[[RunConfig], bool]


CHANGES: Final[tuple[Change, ...]] = (
    Change(1, "how the first records were made", lambda run: True),
    Change(2, "weights are drawn in blocks, and deliberate zeros are kept", lambda run: True),
)
"""All changes, by ascending number. The first one touches everything."""


def protocol_of(config: RunConfig, *, at: int | None = None) -> int:
    """The protocol by which a configuration is run: the number of the newest change that touches it.

    Args:
        config: the run.
        at: while this was the number of the newest change of all; default: today.
    """
    return max(
        change.number for change in CHANGES if (at is None or change.number <= at) and change.touches(config)
    )


def changes_since(number: int) -> str:
    """What has changed since a protocol was the newest, in words."""
    return "; ".join(change.what for change in CHANGES if change.number > number)


def frozen(config: RunConfig, *, protocol: int | None = None) -> dict[str, Any]:
    """The frozen form of a run.

    Args:
        config: the run.
        protocol: by which it was made; default: that of today.

    Raises:
        ConfigError: if the correlation file of the configuration cannot be read.

    >>> from corrinit.lab.experiment.config import Initialization, RunConfig
    >>> form = frozen(RunConfig(initialization=Initialization("kaiming_normal", strength=0.5)))
    >>> form["lr"], form["initialization"]
    (0.1, {'method': 'kaiming_normal', 'scale': 'he'})
    """
    form: dict[str, Any] = {"protocol": protocol_of(config) if protocol is None else protocol}
    return form | _settings(config, RUN) | {"initialization": frozen_arm(config.initialization)}


def frozen_arm(arm: Initialization) -> dict[str, Any]:
    """The arm with its scale by name, and without the R and α that nothing depends on.

    Raises:
        ConfigError: if its correlation file cannot be read.
    """
    arm = arm.canonical
    form = _settings(arm, ARM)
    if arm.rules:
        form["rules"] = [_frozen_rule(rule) for rule in arm.role_rules]
    if not arm.depends_on_correlation:
        return {key: value for key, value in form.items() if key not in ("correlation", "strength")}
    return form | {"correlation": _frozen_correlation(arm)}


def _frozen_rule(rule: RoleRule) -> dict[str, Any]:
    """What a rule names, as the arm itself has it in the form."""
    keys = {each.name: each for each in ARM}
    form = {keys[name].key: keys[name].frozen(value) for name, value in rule.options.items()}
    if rule.correlation is not None:
        form["correlation"] = _frozen_correlation(Initialization(correlation=rule.correlation))
    return {"role": rule.role, **form}


def _frozen_correlation(arm: Initialization) -> str | list[str]:
    loaded = arm.load_correlations()
    if isinstance(loaded, tuple):
        return [_fingerprint(correlation) for correlation in loaded]
    return _fingerprint(arm.load_correlation() or default_correlation((3, 3)))


def run_id(config: RunConfig, *, protocol: int | None = None) -> str:
    """16 hexadecimal digits: the hash of the frozen form, which `frozen` documents.

    Correlations count by their values, wherever their file lies, data by how it is named.
    """
    form = json.dumps(frozen(config, protocol=protocol), sort_keys=True)
    return hashlib.sha256(form.encode()).hexdigest()[:16]


def today(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a record by the names of today; those that it was made before are at their default.

    What the form does not know is passed on.

    >>> today({"l2": 0.001, "initialization": {"scale": "he"}})["initialization"]
    {'rules': (), 'scale': 'he'}
    """
    found = _renamed(recorded, RUN)
    if isinstance(arm := found.get("initialization"), Mapping):
        found["initialization"] = _renamed(arm, ARM)
    return found


def _settings(source: object, settings: Sequence[Key]) -> dict[str, Any]:
    """Those that tell: that are in every form, or are not as they were before they could be set."""
    values = {each: each.frozen(getattr(source, each.name)) for each in settings}
    return {each.key: v for each, v in values.items() if each.default is ALWAYS or v != each.default}


def _fingerprint(correlation: SpatialCorrelation) -> str:
    """A hash of the values, to nine decimals: the last bits of a closed form differ between machines."""
    told = [correlation.matrix] if correlation.is_flat else [correlation.matrix, correlation.deviations]
    facts = str(correlation.kernel_size).encode()
    facts += b"".join((np.round(values, 9) + 0.0).astype("<f8").tobytes() for values in told)
    return hashlib.sha256(facts).hexdigest()[:16]


def _renamed(recorded: Mapping[str, Any], settings: Sequence[Key]) -> dict[str, Any]:
    found = {each.name: each.today(each.default) for each in settings if each.default is not ALWAYS}
    known = {name: each for each in settings for name in (each.key, each.name)}
    for name, value in recorded.items():
        setting = known.get(name, Key(name))
        found[setting.name] = setting.today(value)
    return found
