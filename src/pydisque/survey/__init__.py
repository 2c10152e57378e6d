"""What a system looks like now, for whoever shows it: asked for in small steps, summed, and kept.

`figures` holds what is known of queues and nodes and does no asking; `census` counts jobs by what
they wait for; `survey` asks, and `jobs` does for the jobs of one queue. Nothing here knows how
anything is shown.
"""

from pydisque.survey.census import is_delayed
from pydisque.survey.figures import NodeFigures, QueueFigures, Sample
from pydisque.survey.jobs import JobList, find_job
from pydisque.survey.survey import Survey

__all__ = ["JobList", "NodeFigures", "QueueFigures", "Sample", "Survey", "find_job", "is_delayed"]
