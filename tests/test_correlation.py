import copy
import pickle
import warnings
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corrinit import _spd as spd
from corrinit import kernels
from corrinit._correlation import DEFAULT_MEAN, SpatialCorrelation, default_correlation, format_size
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


@st.composite
def deviations(draw, taps):
    """Relative deviations of no particular form, some of them 0."""
    drawn = np.random.default_rng(draw(st.integers(0, 999))).random(taps)
    drawn[:-1][drawn[:-1] < 0.2] = 0
    return spd.relative_deviations(drawn)


@st.composite
def valued(draw, sizes=sizes):
    """Correlations with deviations."""
    correlation = draw(correlations(sizes))
    return correlation.with_deviations(draw(deviations(len(correlation.matrix))))


@st.composite
def products(draw):
    """Separable correlations of no particular form."""
    size = draw(sizes)
    generator = np.random.default_rng(draw(st.integers(0, 999)))
    axes = [np.corrcoef(generator.normal(size=(60, k)), rowvar=False).reshape(k, k) for k in size]
    return SpatialCorrelation.separable(axes)


def dense(correlation):
    """The same correlation, held as a matrix."""
    flat = None if correlation.is_flat else correlation.deviations
    return SpatialCorrelation(
        correlation.matrix, correlation.kernel_size, correlation.provenance, deviations=flat
    )


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


class TestDeviations:
    @given(valued())
    def test_covariance_is_split_into_deviations_and_correlation(self, correlation):
        d = correlation.deviations
        expected = np.diag(d) @ correlation.matrix @ np.diag(d)
        assert np.allclose(correlation.covariance, expected, rtol=0, atol=1e-15)
        assert np.trace(correlation.covariance) == pytest.approx(len(d))

    @given(valued())
    def test_factor_is_one_of_the_covariance(self, correlation):
        factor = correlation.factor
        assert np.allclose(factor @ factor.T, correlation.covariance, rtol=0, atol=1e-12)

    @given(correlations())
    def test_are_one_unless_given_and_then_nothing_is_copied(self, correlation):
        assert np.array_equal(correlation.deviations, np.ones(len(correlation.matrix)))
        assert correlation.factor is correlation.root
        assert correlation.covariance is correlation.matrix

    def test_are_read_only_and_a_copy(self, smooth):
        d = kernels.centre_weighted((3, 3), 0.8)
        weighted = smooth.with_deviations(d)
        kept = d.copy()
        d[0] = 5
        assert np.array_equal(weighted.deviations, kept)
        for array in (weighted.deviations, weighted.covariance, weighted.factor):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 2

    @pytest.mark.parametrize(
        ("given_deviations", "message"),
        [
            (np.full(9, 2.0), "mean square 4; relative ones have 1: divide them by the root of"),
            (np.zeros(9), "mean square 0"),
            (np.full(9, 1e200), "mean square inf"),
            (np.ones(8), r"shape \(8,\); 9 taps need shape \(9,\)"),
            (np.ones((3, 3)), r"shape \(3, 3\)"),
            ([], r"shape \(0,\)"),
            ([-1.0] + [1.0] * 8, "a deviation is -1; deviations are at least 0"),
            ([np.nan] + [1.0] * 8, "1 of 9 deviations are NaN or infinite"),
            ([1j] + [1.0] * 8, "no real numbers: they are complex"),
            ("wide", "no real numbers"),
        ],
    )
    def test_what_is_wrong_with_them_is_named(self, smooth, given_deviations, message):
        with pytest.raises(CorrelationError, match=message):
            SpatialCorrelation(smooth.matrix, deviations=given_deviations)

    @given(valued())
    def test_belong_to_the_value(self, correlation):
        twin = pickle.loads(pickle.dumps(correlation))
        assert twin == correlation
        assert hash(twin) == hash(correlation)
        assert twin.deviations.tobytes() == correlation.deviations.tobytes()
        assert correlation.is_flat == (correlation == correlation.with_deviations(None))

    def test_are_told_where_they_are_not_one(self, smooth):
        weighted = smooth.with_deviations(kernels.centre_weighted((3, 3), 0))
        assert repr(weighted).endswith("mean=0.260, deviations=0.000 to 3.000)")
        assert "deviations" not in repr(weighted.with_deviations(None))

    def test_independence_needs_equal_deviations(self):
        independent = SpatialCorrelation.identity((3, 3))
        assert independent.is_identity
        assert not independent.with_deviations(kernels.centre_weighted((3, 3), 1)).is_identity
        assert not default_correlation((3, 3)).is_identity

    @given(valued())
    def test_mean_is_that_of_the_correlation(self, correlation):
        assert correlation.mean == correlation.with_deviations(None).mean

    @given(valued(), st.floats(0, 1))
    def test_strength_leaves_them(self, correlation, strength):
        weaker = correlation.with_strength(strength)
        assert np.array_equal(weaker.deviations, correlation.deviations)

    @given(valued())
    def test_symmetrizing_averages_the_covariance(self, correlation):
        size = correlation.kernel_size
        symmetric = correlation.symmetrize()
        assert symmetric.total == pytest.approx(correlation.total)
        for axis in range(len(size)):
            flip = np.flip(np.arange(np.prod(size)).reshape(size), axis).ravel()
            assert np.allclose(symmetric.deviations[flip], symmetric.deviations, rtol=0, atol=1e-12)
            image = symmetric.covariance[np.ix_(flip, flip)]
            assert np.allclose(image, symmetric.covariance, rtol=0, atol=1e-12)

    @given(correlations())
    def test_equal_ones_stay_so(self, correlation):
        assert correlation.symmetrize().is_flat
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CorrInitWarning)
            assert correlation.resize(tuple(k + 1 for k in correlation.kernel_size)).is_flat

    def test_keep_their_place_about_the_centre_in_another_kernel(self):
        weighted = SpatialCorrelation.identity((5, 5)).with_deviations(kernels.centre_weighted((5, 5), 1.0))
        smaller, larger = (weighted.resize((k, k)).deviations.reshape(k, k) for k in (3, 7))
        assert np.allclose(smaller.ravel(), kernels.centre_weighted((3, 3), 1.0))
        inside = larger[1:-1, 1:-1]
        assert np.allclose(inside / inside[2, 2], weighted.deviations.reshape(5, 5) / weighted.deviations[12])
        assert np.allclose(larger[0], larger[1])

    def test_of_a_centre_tap_lie_between_the_taps_of_an_even_kernel(self):
        centre = SpatialCorrelation.identity((3, 3)).with_deviations(kernels.centre_weighted((3, 3), 0))
        expected = kernels.centre_weighted((4, 4), 0)
        assert np.allclose(centre.resize((4, 4)).deviations, expected)

    @given(valued())
    def test_from_a_covariance_of_any_scale(self, correlation):
        live = correlation.deviations > 0
        again = SpatialCorrelation.from_covariance(1e-5 * correlation.covariance, correlation.kernel_size)
        assert np.allclose(again.deviations, correlation.deviations, rtol=0, atol=1e-9)
        assert np.allclose(again.matrix[live][:, live], correlation.matrix[live][:, live], rtol=0, atol=1e-9)
        assert np.array_equal(again.matrix[~live], np.eye(len(live))[~live])

    def test_a_covariance_without_variance_is_refused(self):
        with pytest.raises(CorrelationError, match="all deviations are 0"):
            SpatialCorrelation.from_covariance(np.zeros((4, 4)))
        with pytest.raises(CorrelationError, match="a variance is -1"):
            SpatialCorrelation.from_covariance(np.diag([1.0, 1, 1, -1]))


class TestSeparable:
    @given(products(), st.data())
    def test_is_what_its_matrix_is(self, product, data):
        product = data.draw(
            st.sampled_from(
                [product, product.with_deviations(data.draw(deviations(len(product.deviations))))]
            )
        )
        matrix = dense(product)
        assert product == matrix
        assert hash(product) == hash(matrix)
        assert product.mean == pytest.approx(matrix.mean, abs=1e-12)
        assert product.total == pytest.approx(matrix.total, abs=1e-9)
        assert np.allclose(product.root, matrix.root, rtol=0, atol=1e-7)
        assert np.allclose(product.root @ product.root, matrix.matrix, rtol=0, atol=1e-12)
        for other in (SpatialCorrelation.identity(product.kernel_size), product, matrix):
            assert product.inner(other) == pytest.approx(matrix.inner(dense(other)))

    @given(products())
    def test_axes_and_their_roots_are_kept(self, product):
        assert product.axes is not None
        assert product.axis_roots is not None
        assert tuple(map(len, product.axes)) == product.kernel_size
        for axis, root in zip(product.axes, product.axis_roots, strict=True):
            assert np.allclose(root @ root, axis, rtol=0, atol=1e-12)
        assert dense(product).axes is None
        assert dense(product).axis_roots is None

    @given(products())
    def test_copies_stay_separable(self, product):
        twin = pickle.loads(pickle.dumps(product))
        assert twin == product
        assert twin.axes is not None
        assert copy.deepcopy(product) == product

    def test_is_resized_axis_by_axis(self):
        small = SpatialCorrelation.separable([kernels.exponential((k,), 1.5) for k in (3, 4)])
        resized = small.resize((6, 2))
        assert resized.axes is not None
        assert np.allclose(resized.matrix, kernels.exponential((6, 2), 1.5), rtol=0, atol=1e-9)
        assert resized.provenance["resized_from"] == "3×4"

    def test_strength_other_than_one_takes_the_matrix(self):
        line = kernels.exponential((4,), 1.0)
        half = SpatialCorrelation.separable([line, line]).with_strength(0.5)
        assert half.axes is None
        assert np.allclose(half.matrix, 0.5 * np.kron(line, line) + 0.5 * np.eye(16), rtol=0, atol=1e-12)

    def test_broken_axes_are_named(self):
        with pytest.raises(CorrelationError, match="diagonal is off by 1"):
            SpatialCorrelation.separable([np.eye(3), 2 * np.eye(3)])
        with pytest.raises(CorrelationError, match="one positive number per axis"):
            SpatialCorrelation.separable([])


class TestLargeKernels:
    LARGE = (101, 101)

    def test_default_needs_no_matrix(self):
        """A matrix of 10,201 taps would take 800 MB."""
        correlation = default_correlation(self.LARGE)
        assert correlation.mean == pytest.approx(0.0006, abs=1e-4)
        assert correlation.inner(SpatialCorrelation.identity(self.LARGE)) == pytest.approx(101**2)
        assert correlation.inner(correlation) > 101**2
        assert pickle.loads(pickle.dumps(correlation)) == correlation
        assert correlation != SpatialCorrelation.identity(self.LARGE)
        assert SpatialCorrelation.identity(self.LARGE).is_identity

    @pytest.mark.parametrize("size", [(3, 3), (7, 7), (2, 5), (3, 3, 3)])
    def test_small_ones_have_the_matrix_of_the_closed_form(self, size):
        length_scale = -1 / np.log(kernels.exponential((3, 3), mean=DEFAULT_MEAN)[0, 1])
        assert np.array_equal(default_correlation(size).matrix, kernels.exponential(size, length_scale))

    def test_both_forms_are_one_function(self):
        axes = default_correlation((20, 20)).axes
        assert axes is not None
        assert np.allclose(axes[0][:7, :7], default_correlation((7,)).matrix, rtol=0, atol=1e-15)

    @pytest.mark.parametrize(
        "make",
        [
            lambda: default_correlation(TestLargeKernels.LARGE).matrix,
            lambda: default_correlation(TestLargeKernels.LARGE).root,
            lambda: default_correlation(TestLargeKernels.LARGE).with_strength(0.5),
            lambda: default_correlation((3, 3)).symmetrize().resize(TestLargeKernels.LARGE),
            lambda: kernels.matern(TestLargeKernels.LARGE, 1.0),
            lambda: kernels.constant(TestLargeKernels.LARGE, 0.1),
        ],
    )
    def test_a_matrix_of_too_many_taps_is_refused_in_one_line(self, make):
        with pytest.raises(
            CorrelationError, match=r"10,201 taps are too many .*4,096 is the limit: .*separable"
        ) as error:
            make()
        assert "\n" not in str(error.value)

    def test_a_matrix_beyond_the_limit_is_refused(self, monkeypatch):
        monkeypatch.setattr(spd, "DENSE_LIMIT", 8)
        with pytest.raises(
            CorrelationError, match="9 taps are too many for a correlation matrix, 8 is the limit"
        ):
            SpatialCorrelation(np.eye(9))


class TestValidation:
    @pytest.mark.parametrize(
        ("matrix", "size", "message"),
        [
            (np.eye(4), (3, 3), r"correlation is 4×4; a 3×3 kernel needs 9×9: it is one of a 2×2 kernel"),
            (np.eye(5), (3, 3), r"correlation is 5×5; a 3×3 kernel needs 9×9 .C101.$"),
            (np.eye(3), None, r"3 taps form no square kernel; give kernel_size, such as \(1, 3\)"),
            (np.eye(9), (3, 0), "one positive number per axis"),
            (np.eye(9), (), "one positive number per axis"),
            (np.eye(9), (3.5, 3.5), "one positive number per axis"),
            (np.eye(9), (10**9, 10**9), "needs 1000000000000000000"),
            (np.eye(9) * np.nan, (3, 3), "NaN"),
            (2 * np.eye(9), (3, 3), "diagonal"),
            (1e300 * np.ones((9, 9)), (3, 3), r"an entry is as large as 1e\+300"),
            (np.eye(9), (1,) * 65, "the kernel size has 65 axes; a kernel has 8 at most"),
            (np.eye(9), 3, "kernel size is 3; it needs one positive number per axis"),
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
            ((9,), r"a 9 kernel needs 9×9 .C101.$"),
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

    @given(valued(), st.integers(0, 99))
    def test_inner_is_a_sum_over_pairs(self, correlation, seed):
        n = len(correlation.matrix)
        moments = np.random.default_rng(seed).normal(size=(n, n))
        pairs = (
            correlation.deviations[i] * correlation.matrix[i, j] * correlation.deviations[j] * moments[i, j]
            for i in range(n)
            for j in range(n)
        )
        assert correlation.inner(moments) == pytest.approx(sum(pairs))

    @given(valued())
    def test_inner_with_deviations_on_either_side(self, correlation):
        other = SpatialCorrelation(np.ones_like(correlation.matrix), correlation.kernel_size)
        assert correlation.inner(other) == pytest.approx(correlation.total)
        assert other.inner(correlation) == pytest.approx(correlation.total)
        assert other.inner(correlation.covariance) == pytest.approx(correlation.total)

    @pytest.mark.parametrize("moments", [np.eye(4), np.ones(9), np.full((9, 9), np.nan)])
    def test_inner_with_an_array_needs_its_shape(self, smooth, moments):
        with pytest.raises(CorrelationError, match="a 3×3 kernel needs 9×9 finite numbers"):
            smooth.inner(moments)

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
