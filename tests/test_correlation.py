import copy
import pickle
import warnings
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corrinit import kernels, spd
from corrinit.correlation import DEFAULT_MEAN, SpatialCorrelation, default_correlation, format_size
from corrinit.errors import CorrelationError, CorrInitWarning

sizes = (
    st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple).filter(lambda size: np.prod(size) <= 27)
)


@st.composite
def correlations(draw, sizes=sizes):
    """Correlations of no particular form: of random samples."""
    size = draw(sizes)
    samples = np.random.default_rng(draw(st.integers(0, 999))).normal(size=(60, np.prod(size)))
    return SpatialCorrelation(np.corrcoef(samples, rowvar=False).reshape(np.prod(size), -1), size)


@pytest.fixture
def smooth() -> SpatialCorrelation:
    return SpatialCorrelation(kernels.exponential((3, 3), mean=0.26), provenance={"source": "here"})


class TestValue:
    def test_square_kernel_is_guessed(self, smooth):
        assert smooth.kernel_size == (3, 3)

    def test_is_frozen(self, smooth):
        with pytest.raises(FrozenInstanceError):
            smooth.kernel_size = (9, 1)
        with pytest.raises(ValueError, match="read-only"):
            smooth.matrix[0, 1] = 0.5
        with pytest.raises(TypeError):
            smooth.provenance["source"] = "there"
        with pytest.raises(ValueError, match="read-only"):
            smooth.root[0, 0] = 2

    def test_keeps_a_copy(self):
        matrix = np.eye(4)
        correlation = SpatialCorrelation(matrix)
        matrix[0, 1] = 0.9
        assert correlation.matrix[0, 1] == 0

    def test_provenance_is_text(self):
        assert dict(SpatialCorrelation([[1]], provenance={"n": 3}).provenance) == {"n": "3"}  # pyright: ignore

    @given(correlations())
    def test_copies_are_equal_and_hash_alike(self, correlation):
        for twin in (
            copy.copy(correlation),
            copy.deepcopy(correlation),
            pickle.loads(pickle.dumps(correlation)),
            SpatialCorrelation(correlation.matrix, correlation.kernel_size),
        ):
            assert twin == correlation
            assert hash(twin) == hash(correlation)
            assert twin.matrix.tobytes() == correlation.matrix.tobytes()
            assert not twin.matrix.flags.writeable

    def test_equality_looks_at_matrix_size_and_provenance(self, smooth):
        assert smooth != SpatialCorrelation.identity((3, 3))
        assert SpatialCorrelation(np.eye(4), (2, 2)) != SpatialCorrelation(np.eye(4), (4, 1))
        assert smooth != SpatialCorrelation(smooth.matrix, (3, 3), {"source": "there"})
        assert smooth != "R"

    def test_negative_zeros_are_zeros(self):
        one, other = SpatialCorrelation(np.eye(4)), SpatialCorrelation(np.eye(4) - 0.0 * np.ones((4, 4)))
        negative = SpatialCorrelation(np.where(np.eye(4) == 1, 1.0, -0.0))
        assert one == other == negative
        assert hash(one) == hash(other) == hash(negative)

    def test_repr(self, smooth):
        assert repr(smooth) == "SpatialCorrelation(kernel_size=(3, 3), mean=0.260)"


class TestValidation:
    @pytest.mark.parametrize(
        ("matrix", "size", "message"),
        [
            (np.eye(4), (3, 3), r"correlation is 4×4; a 3×3 kernel needs 9×9: it is one of a 2×2 kernel"),
            (np.eye(5), (3, 3), r"correlation is 5×5; a 3×3 kernel needs 9×9$"),
            (np.eye(3), None, r"3 taps form no square kernel; give kernel_size, such as \(1, 3\)"),
            (np.eye(9), (3, 0), "one positive number per axis"),
            (np.eye(9), (), "one positive number per axis"),
            (np.eye(9), (3.5, 3.5), "one positive number per axis"),
            (np.eye(9), (10**9, 10**9), "needs 1000000000000000000"),
            (np.eye(9) * np.nan, (3, 3), "NaN"),
            (2 * np.eye(9), (3, 3), "diagonal"),
            (np.triu(np.ones((9, 9))), (3, 3), "not symmetric"),
            (2 * np.ones((9, 9)) - np.eye(9), (3, 3), "not positive semi-definite"),
        ],
    )
    def test_names_what_is_wrong(self, matrix, size, message):
        with pytest.raises(CorrelationError, match=message):
            SpatialCorrelation(matrix, size)

    @pytest.mark.parametrize(
        ("size", "message"),
        [
            ((5, 5), r"9×9, of a 3×3 kernel; a 5×5 kernel needs 25×25: use \.resize\(\(5, 5\)\)"),
            ((9,), r"a 9 kernel needs 9×9$"),
        ],
    )
    def test_another_kernel_is_told_the_remedy(self, smooth, size, message):
        with pytest.raises(CorrelationError, match=message):
            smooth.require(size)

    def test_own_kernel_is_accepted(self, smooth):
        smooth.require((3, 3))
        smooth.require([3, 3])


class TestNumbers:
    @given(correlations())
    def test_mean_is_that_of_the_off_diagonal(self, correlation):
        n = len(correlation.matrix)
        off = correlation.matrix[~np.eye(n, dtype=bool)]
        assert correlation.mean == pytest.approx(off.mean() if n > 1 else 0.0)

    @given(correlations())
    def test_root(self, correlation):
        assert np.allclose(correlation.root @ correlation.root, correlation.matrix, rtol=0, atol=1e-12)

    @given(correlations())
    def test_inner_with_the_extremes(self, correlation):
        size, n = correlation.kernel_size, len(correlation.matrix)
        identical = SpatialCorrelation(np.ones((n, n)), size)
        assert correlation.inner(SpatialCorrelation.identity(size)) == pytest.approx(n)
        assert correlation.inner(identical) == pytest.approx(correlation.matrix.sum())
        assert identical.inner(correlation) == correlation.inner(identical)

    def test_inner_needs_one_kernel_size(self, smooth):
        with pytest.raises(CorrelationError, match="of a 3×3 kernel; a 2×2 kernel"):
            smooth.inner(SpatialCorrelation.identity((2, 2)))

    @given(correlations())
    def test_profile_covers_every_pair_once(self, correlation):
        n = len(correlation.matrix)
        for metric in ("euclidean", "cityblock"):
            points = correlation.profile(metric)
            assert sum(point.pairs for point in points) == n * (n - 1) // 2
            assert [point.distance for point in points] == sorted({point.distance for point in points})
            total = sum(point.pairs * point.correlation for point in points)
            assert total == pytest.approx(correlation.mean * n * (n - 1) / 2, abs=1e-12)

    def test_profile_of_a_function_of_distance_is_that_function(self):
        correlation = SpatialCorrelation(kernels.gaussian((3, 3), 1.5))
        for distance, value, _ in correlation.profile():
            assert value == pytest.approx(np.exp(-0.5 * (distance / 1.5) ** 2))

    def test_by_displacement(self):
        matrix = np.array([[1, 0.5, 0.1], [0.5, 1, 0.3], [0.1, 0.3, 1]])
        assert SpatialCorrelation(matrix, (3,)).by_displacement().tolist() == [0.1, 0.4, 1, 0.4, 0.1]


class TestStrength:
    @given(correlations(), st.floats(0, 1))
    def test_scales_the_off_diagonal(self, correlation, strength):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            weaker = correlation.with_strength(strength)
        expected = strength * correlation.matrix + (1 - strength) * np.eye(len(correlation.matrix))
        assert np.allclose(weaker.matrix, expected, rtol=0, atol=1e-12)
        assert weaker.mean == pytest.approx(strength * correlation.mean, abs=1e-12)

    def test_one_changes_nothing_and_zero_is_independence(self, smooth):
        assert smooth.with_strength(1.0) is smooth
        assert np.allclose(smooth.with_strength(0).matrix, np.eye(9), rtol=0, atol=1e-12)

    def test_is_kept_in_the_provenance(self, smooth):
        assert dict(smooth.with_strength(0.5).provenance) == {"source": "here", "strength": "0.5"}

    def test_too_much_is_repaired_with_a_warning(self, smooth):
        with pytest.warns(CorrInitWarning, match=r"nearest one is \d\.\d+ away"):
            stronger = smooth.with_strength(3.0)
        spd.validate(stronger.matrix)
        assert stronger.provenance["psd_repair"].startswith("Frobenius distance")
        assert stronger.mean > smooth.mean

    @pytest.mark.parametrize("strength", [-0.1, np.nan, np.inf])
    def test_impossible_strength_is_named(self, smooth, strength):
        with pytest.raises(CorrelationError, match=f"strength is {strength}"):
            smooth.with_strength(strength)


class TestSymmetrize:
    @given(correlations())
    def test_is_a_correlation_of_the_same_mean(self, correlation):
        symmetric = correlation.symmetrize()
        spd.validate(symmetric.matrix)
        assert symmetric.mean == pytest.approx(correlation.mean, abs=1e-12)

    @given(correlations())
    def test_is_idempotent(self, correlation):
        once = correlation.symmetrize()
        assert np.allclose(once.symmetrize().matrix, once.matrix, rtol=0, atol=1e-12)

    @given(correlations(), st.data())
    def test_does_not_see_flips(self, correlation, data):
        size = correlation.kernel_size
        axes = data.draw(st.sets(st.integers(0, len(size) - 1)))
        flip = np.flip(np.arange(len(correlation.matrix)).reshape(size), tuple(axes)).ravel()
        flipped = SpatialCorrelation(correlation.matrix[np.ix_(flip, flip)], size)
        symmetric = correlation.symmetrize().matrix
        assert np.allclose(flipped.symmetrize().matrix, symmetric, rtol=0, atol=1e-12)
        assert np.allclose(symmetric[np.ix_(flip, flip)], symmetric, rtol=0, atol=1e-12)

    @given(correlations(st.just((3, 3))))
    def test_square_kernels_are_rotated_too(self, correlation):
        rotation = np.rot90(np.arange(9).reshape(3, 3)).ravel()
        symmetric = correlation.symmetrize().matrix
        assert np.allclose(symmetric[np.ix_(rotation, rotation)], symmetric, rtol=0, atol=1e-12)

    def test_axes_of_different_length_are_not_exchanged(self):
        tall = SpatialCorrelation(kernels.exponential((3, 1), 1.0), (3, 1))
        assert np.allclose(tall.symmetrize().matrix, tall.matrix)

    def test_leaves_what_is_symmetric(self, smooth):
        assert np.allclose(smooth.symmetrize().matrix, smooth.matrix, rtol=0, atol=1e-15)


class TestResize:
    @pytest.mark.filterwarnings("ignore::corrinit.errors.CorrInitWarning")
    @given(
        correlations(st.sampled_from([(3, 3), (2, 2), (1, 1), (2, 4)])), st.tuples(*[st.integers(1, 6)] * 2)
    )
    def test_is_a_correlation_of_the_new_size(self, correlation, size):
        resized = correlation.resize(size)
        assert resized.kernel_size == size
        spd.validate(resized.matrix)

    @given(scale=st.floats(0.3, 5), size=st.tuples(*[st.integers(1, 7)] * 2))
    def test_of_an_exponential_is_that_exponential(self, scale, size):
        small = SpatialCorrelation(kernels.exponential((3, 3), scale))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            resized = small.resize(size)
        assert np.allclose(resized.matrix, kernels.exponential(size, scale), rtol=0, atol=1e-9)

    def test_keeps_how_neighbours_are_correlated(self):
        smooth = SpatialCorrelation(kernels.matern((3, 3), mean=0.3))
        for size in ((2, 2), (5, 5), (7, 7)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CorrInitWarning)
                resized = smooth.resize(size)
            assert resized.profile()[0].correlation == pytest.approx(
                smooth.profile()[0].correlation, abs=0.01
            )

    def test_to_the_same_size_changes_nothing(self, smooth):
        assert smooth.resize((3, 3)) is smooth

    def test_is_kept_in_the_provenance(self, smooth):
        assert smooth.resize((2, 2)).provenance["resized_from"] == "3×3"

    def test_of_independent_taps_is_independent(self):
        assert np.allclose(SpatialCorrelation.identity((3, 3)).resize((5, 5)).matrix, np.eye(25))

    def test_of_identical_taps_is_identical(self):
        assert np.allclose(SpatialCorrelation(np.ones((9, 9))).resize((5, 5)).matrix, 1)

    def test_repair_is_warned_of(self):
        alternating = SpatialCorrelation([[1, -0.9], [-0.9, 1]], (2,))
        with pytest.warns(CorrInitWarning, match="not a correlation"):
            resized = alternating.resize((6,))
        assert "psd_repair" in resized.provenance

    def test_to_another_number_of_axes_is_refused(self, smooth):
        with pytest.raises(CorrelationError, match=r"3×3.* cannot be resized to 3×3×3: the number of axes"):
            smooth.resize((3, 3, 3))


class TestNearest:
    def test_of_a_correlation_is_silent(self, smooth):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            nearest = SpatialCorrelation.nearest(smooth.matrix, (3, 3), smooth.provenance)
        assert np.allclose(nearest.matrix, smooth.matrix, rtol=0, atol=1e-12)
        assert "psd_repair" not in nearest.provenance

    def test_of_anything_else_warns(self):
        with pytest.warns(CorrInitWarning, match=r"nearest one is 1\.41 away"):
            nearest = SpatialCorrelation.nearest([[1, 2], [2, 1]], (2,))
        assert nearest.provenance["psd_repair"] == "Frobenius distance 1.41421"


class TestDefault:
    def test_has_the_mean_of_the_paper_on_a_3x3_kernel(self):
        assert default_correlation((3, 3)).mean == pytest.approx(DEFAULT_MEAN)

    @pytest.mark.parametrize("size", [(5,), (1, 3), (5, 5), (3, 3, 3)])
    def test_neighbours_are_correlated_alike_in_every_size(self, size):
        neighbours = default_correlation((3, 3)).profile()[0].correlation
        assert default_correlation(size).profile()[0].correlation == pytest.approx(neighbours)


def test_sizes_are_written_as_people_do():
    assert [format_size(size) for size in ((3, 3), (5,), (1, 2, 3))] == ["3×3", "5", "1×2×3"]
