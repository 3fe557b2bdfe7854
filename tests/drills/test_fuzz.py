"""A short run of the drills with damaged files and careless values; `make fuzz` is the long one."""

import pytest
import torch

from .families import FAMILIES
from .fuzz import fuzz, hostile
from .hostile import HOSTILE
from .misuse import misuse

SEED = 0


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_damaged_file_is_read_or_refused_in_a_line(tmp_path, name):
    if not FAMILIES[name].possible:
        pytest.skip(f"{FAMILIES[name].needs} is not installed")
    counts, seeds = fuzz(name, 12, SEED, tmp_path)
    assert counts.keys() <= {"read", "refused"}, {what: seeds[what] for what in counts}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_does_nothing(tmp_path, name):
    assert hostile(tmp_path / "files", [name]) == {HOSTILE[name][1]: 1}


def test_a_careless_argument_is_named(tmp_path):
    counts = misuse(tmp_path)
    assert [what for what in counts if what not in ("read", "refused")] == []
    assert counts["refused"] > 500
