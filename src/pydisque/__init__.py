"""pydisque: client, worker and server for Disque, the distributed job queue."""

from pydisque.async_client import AsyncClient, AsyncReceivedJob
from pydisque.async_transport import AsyncConnectedNode
from pydisque.client import Client, ReceivedJob
from pydisque.errors import (
    BadIDError,
    ConnectionLostError,
    DisqueError,
    LeavingError,
    LoadingError,
    MaxLenError,
    MisconfError,
    NoAuthError,
    NoJobError,
    NoProtoError,
    NoReplError,
    OOMError,
    PausedError,
    TooLateError,
    UnreachableError,
)
from pydisque.pipeline import AsyncPipeline, Pipeline
from pydisque.replies import Job, JobInfo, QueueStats
from pydisque.transport import ConnectedNode
from pydisque.worker import Backoff, Dead, Drop, Hook, Retry, Worker, WorkerJob

__all__ = [
    "AsyncClient",
    "AsyncConnectedNode",
    "AsyncPipeline",
    "AsyncReceivedJob",
    "Backoff",
    "BadIDError",
    "Client",
    "ConnectedNode",
    "ConnectionLostError",
    "Dead",
    "DisqueError",
    "Drop",
    "Hook",
    "Job",
    "JobInfo",
    "LeavingError",
    "LoadingError",
    "MaxLenError",
    "MisconfError",
    "NoAuthError",
    "NoJobError",
    "NoProtoError",
    "NoReplError",
    "OOMError",
    "PausedError",
    "Pipeline",
    "QueueStats",
    "ReceivedJob",
    "Retry",
    "TooLateError",
    "UnreachableError",
    "Worker",
    "WorkerJob",
    "__version__",
]

__version__ = "1.0.0.dev0"
