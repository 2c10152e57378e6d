"""What a system looks like now, for whoever shows it: asked for in small steps, summed, and kept.

`figures` holds what is known of queues and nodes and does no asking; `census` counts jobs by what
they wait for; `survey` asks. Nothing here knows how anything is shown.
"""

from pydisque.survey.figures import NodeFigures, QueueFigures, Sample
from pydisque.survey.survey import Survey

__all__ = ["NodeFigures", "QueueFigures", "Sample", "Survey"]
