"""The theory of the paper, corrected and executable.

Section 3, one filter under gradient descent: `Samples`, `descend` (the simulation) and `dynamics` (the
closed forms it is tested against). Section 4, the signal through layers: `variance` (the algebra) and
`measure_stack` (random networks).
"""

from corrinit.theory import dynamics as dynamics
from corrinit.theory import variance as variance
from corrinit.theory.conv_stack import StackMeasurement as StackMeasurement
from corrinit.theory.conv_stack import measure_stack as measure_stack
from corrinit.theory.samples import Samples as Samples
from corrinit.theory.samples import patches as patches
from corrinit.theory.samples import second_moment as second_moment
from corrinit.theory.single_filter import Descent as Descent
from corrinit.theory.single_filter import descend as descend
from corrinit.theory.single_filter import stability_limit as stability_limit
