"""What methods cost: evaluations, cold and warm wall time and peak memory, each measured in a process of its own."""

from velatura.evaluation.performance.case import Case, Measurement
from velatura.evaluation.performance.plan import Asked, planned_cases
from velatura.evaluation.performance.ratios import ratios
from velatura.evaluation.performance.running import measure_all

__all__ = ["Asked", "Case", "Measurement", "measure_all", "planned_cases", "ratios"]
