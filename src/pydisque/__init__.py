"""pydisque: client, worker and server for Disque, the distributed job queue."""

from pydisque._version import __version__
from pydisque.client.async_client import AsyncClient, AsyncReceivedJob
from pydisque.client.async_transport import AsyncConnectedNode
from pydisque.client.client import Client, ReceivedJob
from pydisque.client.pipeline import AsyncPipeline, Pipeline
from pydisque.client.transport import ConnectedNode
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
from pydisque.protocol.replies import Job, JobInfo, QueueStats
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
