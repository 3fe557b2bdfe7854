"""In what order planned runs are made when time is short: those first that may decide most.

Every cell gets one seed before any gets two. Within a seed, runs come first that bear on the most claims
which are undecided so far, and among these the cheap ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from corrinit.lab.experiment.arm import BASELINE, controls
from corrinit.lab.experiment.config import Initialization, RunConfig
from corrinit.lab.paper.claims import CLAIMS, Finding

WITHIN_A_SETTING = tuple(claim.number for claim in CLAIMS if not claim.measures[0].between_settings)
"""Claims on the arms of one setting; (iv) compares settings over learning rates, (v) over λ."""


def undecided(findings: Iterable[Finding]) -> frozenset[str]:
    """The numbers of the claims that are not decided in every setting, by any measure in any reading."""
    return frozenset(finding.claim.number for finding in findings if finding.is_open)


def bearing(configs: Sequence[RunConfig], correlated: Initialization) -> dict[RunConfig, frozenset[str]]:
    """The numbers of the claims that each run bears on.

    That is so for the arms of the 2×2 of the claims: on claims about one setting all of them, on claims that
    compare settings where the other setting is among the runs.

    Args:
        configs: all runs that are planned.
        correlated: the initialization that the claims are about.
    """
    arms = {BASELINE, correlated.canonical, *controls(correlated)}
    rates: dict[object, set[float]] = {}
    penalties: dict[object, set[float]] = {}
    for config in configs:
        rates.setdefault(config.setting.without("lr"), set()).add(config.lr)
        penalties.setdefault(config.setting.without("l2", "epochs"), set()).add(config.l2)
    found = {}
    for config in configs:
        claims: set[str] = {*WITHIN_A_SETTING}
        if len(rates[config.setting.without("lr")]) > 1:
            claims.add("(iv)")
        if len(penalties[config.setting.without("l2", "epochs")]) > 1:
            claims.add("(v)")
        found[config] = frozenset(claims if config.initialization.canonical in arms else ())
    return found


def agenda(
    configs: Sequence[RunConfig],
    seconds: Mapping[RunConfig, float],
    bears_on: Mapping[RunConfig, Collection[str]],
    open_claims: Collection[str],
) -> list[RunConfig]:
    """Runs in the order in which to make them.

    Args:
        configs: the runs.
        seconds: that each takes.
        bears_on: the claims that it bears on.
        open_claims: those that are undecided.
    """

    def rank(config: RunConfig) -> tuple[int, int, float]:
        return config.seed, -len(frozenset(open_claims) & frozenset(bears_on[config])), seconds[config]

    return sorted(configs, key=rank)
