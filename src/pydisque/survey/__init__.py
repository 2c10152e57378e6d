"""The earlier name of `pydisque.monitoring`."""

from pydisque.monitoring.figures import NodeFigures, QueueFigures, Sample
from pydisque.monitoring.jobs import JobList, find_job
from pydisque.monitoring.monitor import Survey
from pydisque.monitoring.state_counts import is_delayed

__all__ = ["JobList", "NodeFigures", "QueueFigures", "Sample", "Survey", "find_job", "is_delayed"]
