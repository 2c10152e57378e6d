"""The earlier name of `pydisque.monitoring.metrics`."""

from pydisque.monitoring.metrics import SurveyMetrics

__all__ = ["SurveyMetrics"]
