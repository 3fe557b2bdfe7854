"""Errata of Section 3, a single filter."""

from __future__ import annotations

from corrinit.lab.theory import filter_evidence as evidence
from corrinit.lab.theory.errata import Erratum

FILTER_ERRATA = (
    Erratum(
        "equation-4",
        "Theorem 3.1, Eq. (4)",
        "wrong",
        "w_i ← w_i − 2λ(2(w*_0 − w_0) d_i + w_i d_i²) · w_i",
        "w_i ← w_i (1 − 2λ d_i²)",
        "The samples come in pairs ±a_i, so the term with w*_0 − w_0 is multiplied by the sign of a_i and "
        "cancels. The trailing factor w_i does not even follow from the printed Eq. (9).",
        "The conclusion survives and is cleaner: w_i shrinks by 1 − 2λ d_i² per update whatever w_0 does, "
        "slowly for small d_i. As printed, a negative w_i would run away from its optimum 0.",
        evidence.equation_4,
    ),
    Erratum(
        "equation-9",
        "Proof of Theorem 3.1, Eq. (9)",
        "wrong",
        "Σ −∂L/∂w_i = −2|S| (2(w*_0 − w_0) + w_i d_i) d_i",
        "Σ −∂L/∂w_i = −2|S| w_i d_i²",
        "In the line printed above it, the first term occurs with factor −d_i for one half of the samples "
        "and +d_i for the other: that line is right, and the step from it to Eq. (9) is not.",
        "Eq. (9) would move an irrelevant tap that is already at 0. It does not move.",
        evidence.equation_9,
    ),
    Erratum(
        "positive-coordinates",
        "Assumptions (1) and (2)",
        "wrong",
        "Samples have positive coordinates, and X_i = a_i with a_i ∈ {−d_i, d_i} for i > 0.",
        "The two exclude each other unless all d_i = 0; the proof needs only (2).",
        "For each i > 0 half of the samples have X_i = −d_i. The theorem lives in coordinates turned so that "
        "w* = e_0; outputs of a ReLU are positive in tap coordinates, which turning does not keep.",
        "What is said about “coordinates” holds for directions relative to w*, not for taps.",
        evidence.positive_coordinates,
    ),
    Erratum(
        "small-distances",
        "Assumption (2)",
        "needs a condition",
        "Small d_i imply strong correlation between inputs.",
        "They imply that the samples resemble each other; the taps have strong second-moment correlation, "
        "and any correlation at all: that depends on d_0/d_1.",
        "The a_i are independent, so all variation around the mean is uncorrelated in the theorem's "
        "coordinates. With w* along (1, 1), the taps' correlation is (d_0² − d_1²)/(d_0² + d_1²).",
        "“Correlated inputs” must be read as H = E[X Xᵀ], not centred, being far from a multiple of I. "
        "That is what slows training, and what `dynamics` uses.",
        evidence.small_distances,
    ),
    Erratum(
        "convexity",
        "Section 3.2, first paragraph",
        "wrong",
        "Convergence to w* is ensured (for adequate learning rates) due to the convex nature of the problem.",
        "With the ReLU the loss is not convex: it is flat where a sample is inactive. Convergence to w* is "
        "ensured while all samples stay active.",
        "L = (y − max(w·X, 0))² has a plateau at L = y² for w·X ≤ 0. The paper's own “dead ReLU” "
        "contradicts it.",
        "A start can be lost for good, and correlated starts are lost more often: on positive samples a "
        "smooth filter is active on all or on none. The paper does not count this cost.",
        evidence.convexity,
    ),
    Erratum(
        "initially-active",
        "Assumption (4) as loosened",
        "wrong",
        "We assumed that initially all samples are active.",
        "They must be active at every update. Sufficient: ‖w(0) − w*‖ max‖X‖ < min w*·X.",
        "w_0 settles quickly and large w_i do not, so samples can drop out on the way.",
        "The closed form holds inside a ball around w* for certain, outside it only where simulation says "
        "so.",
        evidence.initially_active,
    ),
    Erratum(
        "non-negative",
        "Loosening assumption (4)",
        "wrong",
        "The assumption boils down to all coordinates w_i being non-negative throughout; in particular w* "
        "has non-negative coordinates.",
        "Non-negative taps are sufficient for positive inputs, not necessary.",
        "w·X > 0 on a finite set of positive samples leaves room for negative taps.",
        "The theorem covers filters with negative taps, edges among them, where their samples keep them "
        "active.",
        evidence.non_negative,
    ),
    Erratum(
        "fast-dimensions",
        "Explanation of Theorem 3.1",
        "needs a condition",
        "Dimensions where w* is large converge quickly, dimensions where w* is small converge slowly.",
        "Directions in which the inputs have a large second moment converge quickly, wherever w* points.",
        "w(t) − w* = (I − 2λH)ᵗ (w(0) − w*): w* does not enter the rates. In the theorem, assumption (2) "
        "puts the samples around w*, so that the two coincide.",
        "For a filter unlike the mean patch the order is reversed: its own direction is among the slow "
        "ones, and what it shares with the mean patch is unlearned first.",
        evidence.fast_dimensions,
    ),
    Erratum(
        "asymmetry",
        "Loosening assumption (2)",
        "wrong",
        "Asymmetry may increase or decrease the speed; over all coordinates the impact is likely small.",
        "With inputs of the same magnitude, asymmetry never makes the slowest direction faster, and can "
        "stop it.",
        "It adds off-diagonal entries to H and leaves the diagonal. The eigenvalues then majorize the "
        "diagonal (Schur 1923): the smallest can only fall, the largest only rise, which also lowers the "
        "largest stable λ.",
        "Convergence on real samples is slower than Theorem 3.1 says, by factors and not by percents.",
        evidence.asymmetry,
    ),
    Erratum(
        "noise",
        "Loosening assumption (3)",
        "needs a condition",
        "For random noise the overall impact might be small, since noise terms cancel.",
        "The speed is unchanged; the limit moves to w* + H⁻¹ E[f(X) X], by σ/√(n h) along a direction of "
        "eigenvalue h.",
        "f adds a constant to every update. It is averaged over n samples and divided by h.",
        "Noise hardly matters in the fast directions and most in the slow ones, those of small d_i: where "
        "a start should be right, because training would have to be long and would then fit noise.",
        evidence.noise,
    ),
    Erratum(
        "active-share",
        "Loosening assumption (4), after Eq. (10)",
        "needs a condition",
        "Updates are roughly proportional to |S_A|/|S|, so fewer active samples mean slower convergence.",
        "Roughly so for a first update on concentrated samples. For spread samples the update is several "
        "times smaller than that; and on concentrated ones convergence is hardly slower.",
        "Active samples are those with the larger w·X, so with the smaller residuals. Convergence is "
        "decided by the slow directions, in which an unbalanced active set pulls harder.",
        "The conclusion holds for samples that are not concentrated, the opposite of the condition given.",
        evidence.active_share,
    ),
    Erratum(
        "zig-zag",
        "Section 3.2, conjectures (ii) and (iii), Conclusions",
        "needs a condition",
        "For a single filter, correlated initialization leads to fewer updates that are undone in the next.",
        "With all samples in each update and active, an eigendirection changes sign at every update if λ > "
        "1/(2h), else never, whatever the start.",
        "The factor 1 − 2λh has one sign. Only which tap shows it depends on the start, and how many "
        "samples are active.",
        "Theorem 3.1 does not support the conjecture. Measured on real patches, the correlated start has "
        "about as many sign changes with full batches, and a few percent fewer with samples one by one.",
        evidence.zigzag,
    ),
    Erratum(
        "prior",
        "Section 3.2 and Explanation of Theorem 3.1",
        "needs a condition",
        "Given that the weights w* are correlated, correlated initialization provides faster convergence.",
        "The advantage does not depend on how w* is correlated; it comes from the correlation of the inputs.",
        "E‖w(t) − w*‖² = tr Aᵗ(S + R)Aᵗ with A = I − 2λH: the optimum's covariance R adds the same to "
        "every start. Correlation with w* helps only by way of the ReLU: given that both are active on the "
        "same samples, both have the same sign (`dynamics.expected_error_if_active`).",
        "Correlated starts help because they put their error where correlated inputs remove it quickly. "
        "The better start of equal scale would be one with all its variance there, and a small start is "
        "better still.",
        evidence.prior,
    ),
    Erratum(
        "generalization",
        "Section 3.1, Conclusions",
        "needs a condition",
        "Theory shows that correlated initialization can lead to better generalization.",
        "In the linear model, on patches that share a mean and at equal scale, the filter ends nearer to w* "
        "for every number of samples n; its error on unseen patches is larger for few samples and smaller "
        "for more. On centred patches, and with ReLU, it does not.",
        "The start's part of the error is tr(H P⊥SP⊥): with few samples, what a correlated start leaves is "
        "smooth, and smooth errors cost most on smooth inputs.",
        "“Can” is right. Scale acts more: at the paper's scale either start's part falls to a third.",
        evidence.generalization,
    ),
)
