import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from corrinit import _spd as spd
from corrinit import kernels
from corrinit.errors import CorrelationError

symmetric = st.integers(1, 9).flatmap(
    lambda n: arrays(np.float64, (n, n), elements=st.floats(-3, 3)).map(lambda a: (a + a.T) / 2)
)
unit_diagonal = symmetric.map(lambda a: a - np.diag(np.diag(a)) + np.eye(len(a)))


def correlation_of(samples):
    return np.corrcoef(samples, rowvar=False).reshape(samples.shape[1], -1)


correlations = st.tuples(st.integers(1, 9), st.integers(0, 999)).map(
    lambda drawn: correlation_of(np.random.default_rng(drawn[1]).normal(size=(3 + drawn[1] % 20, drawn[0])))
)


def naive_repair(matrix):
    """Clip the negative eigenvalues, then rescale to a unit diagonal."""
    values, vectors = np.linalg.eigh(matrix)
    clipped = (vectors * values.clip(min=0)) @ vectors.T
    deviations = np.sqrt(np.diag(clipped))
    return clipped / np.outer(deviations, deviations)


class TestValidate:
    @given(correlations)
    def test_keeps_a_correlation_but_for_rounding(self, matrix):
        valid = spd.validate(matrix)
        assert np.array_equal(valid, valid.T)
        assert np.allclose(valid, matrix, rtol=0, atol=1e-15)

    def test_copies(self):
        given_matrix = np.eye(3)
        spd.validate(given_matrix)[0, 1] = 0.5
        assert given_matrix[0, 1] == 0

    def test_forgives_rounding(self):
        spd.validate(np.array([[1 + 1e-7, 0.5], [0.5 + 1e-7, 1]]))
        spd.validate(np.full((3, 3), 1.0) - 1e-8 * (1 - np.eye(3)) + 2e-8 * np.eye(3))

    @pytest.mark.parametrize(
        ("matrix", "message"),
        [
            ([1, 2], r"shape \(2,\); a correlation of n taps is n × n"),
            ([[1, 0]], r"shape \(1, 2\)"),
            (np.empty((0, 0)), r"shape \(0, 0\)"),
            ([[1, np.nan], [np.nan, 1]], "2 of 4 entries are NaN or infinite"),
            ([[np.inf]], "1 of 1 entries"),
            ([[1, 0.5], [0.4, 1]], r"not symmetric: entries differ by up to 0\.1"),
            ([[2, 0], [0, 1]], "diagonal is off by 1;.*divide by the deviations"),
            ([[1, 2], [2, 1]], r"smallest eigenvalue is -1;.*SpatialCorrelation\.nearest"),
            ([[1, "a"], ["a", 1]], "does not consist of rows of real numbers"),
            ([[1, 1j], [-1j, 1]], "does not consist of rows of real numbers"),
            ([[1, 0], [0]], "does not consist of rows of real numbers"),
        ],
    )
    def test_names_what_is_wrong(self, matrix, message):
        with pytest.raises(CorrelationError, match=message):
            spd.validate(matrix)


class TestNearestCorrelation:
    @given(symmetric)
    def test_is_a_correlation(self, matrix):
        spd.validate(spd.nearest_correlation(matrix).matrix)

    @given(unit_diagonal, st.integers(1, 3))
    def test_is_a_correlation_even_at_the_iteration_limit(self, matrix, limit):
        repaired = spd.nearest_correlation(matrix, max_iterations=limit).matrix
        assert np.array_equal(np.diag(repaired), np.ones(len(repaired)))
        assert np.array_equal(repaired, repaired.T)
        assert np.linalg.eigvalsh(repaired)[0] > -1e-12

    @given(correlations)
    def test_leaves_a_correlation_alone(self, matrix):
        repaired, distance = spd.nearest_correlation(matrix)
        assert np.allclose(repaired, matrix, rtol=0, atol=1e-12)
        assert distance < 1e-12

    @given(unit_diagonal)
    def test_is_at_least_as_near_as_clipping(self, matrix):
        nearest = spd.nearest_correlation(matrix)
        assert nearest.distance <= np.linalg.norm(naive_repair(matrix) - matrix) + 1e-9

    @given(unit_diagonal, st.integers(0, 99))
    def test_no_correlation_on_the_way_to_another_is_nearer(self, matrix, seed):
        """The set of correlations is convex, so at the nearest one no direction into it leads nearer."""
        nearest = spd.nearest_correlation(matrix)
        other = correlation_of(np.random.default_rng(seed).normal(size=(20, len(matrix))))
        for step in (0.01, 0.1, 0.5):
            between = (1 - step) * nearest.matrix + step * other
            assert np.linalg.norm(between - matrix) >= nearest.distance - 1e-7

    def test_higham_2002_example(self):
        """The 3 × 3 example of Higham (2002), section 4: distance 0.5278, entries 0.7607 and 0.1573."""
        repaired, distance = spd.nearest_correlation([[1, 1, 0], [1, 1, 1], [0, 1, 1]])
        assert distance == pytest.approx(0.5278, abs=5e-5)
        expected = [[1, 0.7607, 0.1573], [0.7607, 1, 0.7607], [0.1573, 0.7607, 1]]
        assert np.allclose(repaired, expected, rtol=0, atol=5e-5)

    def test_reports_the_distance(self):
        matrix = np.array([[1.0, 2.0], [2.0, 1.0]])
        repaired, distance = spd.nearest_correlation(matrix)
        assert distance == pytest.approx(np.linalg.norm(repaired - matrix))

    def test_bad_input_is_named(self):
        with pytest.raises(CorrelationError, match="NaN"):
            spd.nearest_correlation([[np.nan]])
        with pytest.raises(CorrelationError, match="max_iterations is 0"):
            spd.nearest_correlation([[1.0]], max_iterations=0)


class TestShrink:
    @given(correlations, st.floats(0, 1))
    def test_scales_what_is_off_the_diagonal(self, matrix, intensity):
        shrunk = spd.shrink(matrix, intensity)
        off = ~np.eye(len(matrix), dtype=bool)
        assert np.allclose(shrunk[off], (1 - intensity) * matrix[off])
        spd.validate(shrunk)

    @pytest.mark.parametrize("intensity", [-0.1, 1.1, np.nan])
    def test_impossible_intensity_is_named(self, intensity):
        with pytest.raises(CorrelationError, match=f"shrinkage intensity is {intensity}"):
            spd.shrink(np.eye(2), intensity)


class TestSymmetricRoot:
    @given(correlations)
    def test_its_square_is_the_matrix(self, matrix):
        root = spd.symmetric_root(matrix)
        assert np.allclose(root @ root, matrix, rtol=0, atol=1e-12)
        assert np.allclose(root, root.T, rtol=0, atol=1e-14)
        assert np.linalg.eigvalsh(root)[0] > -1e-12

    def test_of_perfectly_correlated_taps(self):
        assert np.allclose(spd.symmetric_root(np.ones((4, 4))), np.full((4, 4), 0.5))

    def test_commutes_with_the_flips_of_the_grid(self):
        root = spd.symmetric_root(kernels.exponential((3, 3), 1.0))
        flip = np.arange(9).reshape(3, 3)[::-1].ravel()
        assert np.allclose(root, root[np.ix_(flip, flip)], rtol=0, atol=1e-14)
