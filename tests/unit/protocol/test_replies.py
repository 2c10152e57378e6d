"""What replies are given back as."""

from __future__ import annotations

import copy
import pickle

from hypothesis import given
from hypothesis import strategies as st
from redis._parsers.helpers import parse_info as redis_parse_info

from pydisque.protocol.replies import Job, JobInfo, QueueStats, believed, parse_info


def test_a_job_is_its_tuple():
    """A job equals, hashes, unpacks and indexes like the plain tuple, and names its parts."""
    plain = (b"q", b"id", b"body")
    job = Job(plain)
    queue, job_id, body = job
    assert job == plain
    assert hash(job) == hash(plain)
    assert (job.queue, job.id, job.body) == (queue, job_id, body) == plain
    assert (job.nacks, job.additional_deliveries) == (None, None)
    assert repr(job) == "Job((b'q', b'id', b'body'))"


def test_a_job_with_counters():
    """Asked with counters a job has five parts."""
    job = Job((b"q", b"id", b"body", 1, 2))
    assert (job.nacks, job.additional_deliveries) == (1, 2)


def test_jobs_can_be_copied_and_pickled():
    """A job goes through copy and pickle, as when handed to another process."""
    job = Job((b"q", b"id", b"body"))
    assert pickle.loads(pickle.dumps(job)) == copy.deepcopy(job) == job
    assert type(pickle.loads(pickle.dumps(job))) is Job


def test_fields_by_name():
    """The flat list of the wire has its fields as properties, whether bytes or str."""
    flat = [b"id", b"x", b"nacks", 1, b"next-requeue-within", None]
    info = JobInfo(flat)
    assert info == flat
    assert (info.id, info.nacks, info.next_requeue_within, info.body) == (b"x", 1, None, None)
    assert info.as_dict() == {b"id": b"x", b"nacks": 1, b"next-requeue-within": None}
    stats = QueueStats(["name", "q", "len", 3, "jobs-in", 4, "import-rate", 0])
    assert (stats.name, stats.len, stats.jobs_in, stats.import_rate) == ("q", 3, 4, 0)
    assert len(stats) == 8
    assert repr(JobInfo([])) == "JobInfo([])"


def test_a_value_is_not_taken_for_a_name():
    """A queue named like a field does not confuse the look-up."""
    assert JobInfo([b"queue", b"body", b"body", b"x"]).body == b"x"


INFO = b"""# Server\r
disque_version:1.0-rc1\r
os:Linux 6.1 x86_64\r
executable:/a:b/c\r
\r
# CPU\r
used_cpu_sys:0.25\r
cmdstat_addjob:calls=2,usec=10,usec_per_call=5.00\r
"""


def test_info_as_redis_py_reads_it():
    """INFO becomes the dict redis-py made of it."""
    assert parse_info(INFO) == redis_parse_info(INFO) == parse_info(INFO.decode())
    assert parse_info("list:1,2,x") == {"list": [1, 2, "x"]}
    assert parse_info(INFO)["cmdstat_addjob"] == {"calls": 2, "usec": 10, "usec_per_call": 5.0}


NAMES = st.from_regex(r"[a-z_]{3,9}", fullmatch=True)
VALUES = st.from_regex(r"[a-z0-9. ]*", fullmatch=True)


@given(st.dictionaries(NAMES, VALUES))
def test_plain_info_values_as_redis_py_reads_them(values):
    """Numbers and words are told apart as redis-py tells them."""
    values.pop("module", None)
    reply = "".join(f"{name}:{value}\r\n" for name, value in values.items())
    assert parse_info(reply) == redis_parse_info(reply)


def test_the_node_that_has_a_job_queued_is_believed():
    """Elsewhere a queued job's copy is active; who knows nothing is passed over."""
    active, queued = (JobInfo([b"id", b"D-1", b"state", state]) for state in (b"active", b"queued"))
    assert believed([None, active, queued]) is queued
    assert believed([queued, active]) is queued
    assert believed([active, None]) is active
    acked = JobInfo([b"id", b"D-1", b"state", b"acked"])
    assert believed([acked, active]) is active
    assert believed([None, acked]) is acked
    assert believed([None]) is None
