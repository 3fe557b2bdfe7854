"""A short run of the drills with damaged files and careless values; `make fuzz` is the long one."""

import pytest
import torch

from .fuzz import FAMILIES, fuzz, misuse

SEED = 0


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_damaged_file_is_read_or_refused_in_a_line(tmp_path, name):
    counts, seeds = fuzz(name, 12, SEED, tmp_path)
    assert counts.keys() <= {"read", "refused"}, {what: seeds[what] for what in counts}


def test_a_careless_argument_is_named():
    counts = misuse()
    assert counts.keys() <= {"read", "refused"}
    assert counts["refused"] > 100
