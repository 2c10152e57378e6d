"""A queue keeps jobs in the order of their creation, whatever leaves and comes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydisque.node.engine.job import Job
from pydisque.node.engine.queue import Queue


def job(ctime: int) -> Job:
    return Job(b"D-%038d" % ctime, b"q", b"", ctime, 0, 300)


def filled(*ctimes: int) -> Queue:
    queue = Queue(b"q", 1, 0)
    for ctime in ctimes:
        queue.append(ctime, job(ctime))
    return queue


def taken(queue: Queue) -> Job:
    job = queue.take()
    assert job is not None
    return job


def ages(jobs: list[Job]) -> list[int]:
    return [job.ctime for job in jobs]


def test_the_oldest_job_is_taken_first() -> None:
    """Jobs come out in the order they were added, and then there is none."""
    queue = filled(1, 2, 3)
    assert [taken(queue).ctime for _ in range(3)] == [1, 2, 3]
    assert queue.take() is None


def test_a_job_put_back_takes_its_old_place() -> None:
    """Neither the front nor the end: a job that comes back stands where its age puts it."""
    queue = filled(1, 2, 3, 4)
    back = [taken(queue) for _ in range(3)]
    queue.put_back(back[2])
    queue.put_back(back[0])
    assert ages(queue.oldest(9)) == [1, 3, 4]
    assert ages(queue.newest(9)) == [4, 3, 1]


@pytest.mark.parametrize("returned", [False, True])
def test_a_job_is_removed_wherever_it_stands(returned: bool) -> None:
    """Removing works for jobs that never left and for those put back."""
    queue = filled(1, 2)
    first = taken(queue)
    if returned:
        queue.put_back(first)
        queue.remove(first)
    else:
        queue.remove(queue.oldest(1)[0])
        queue.put_back(first)
    assert len(queue) == 1


@pytest.mark.parametrize("count", [0, 1, 2, 5, 2**63])
def test_looking_takes_nothing(count: int) -> None:
    """`oldest` and `newest` show up to so many jobs, however large the number, and keep them."""
    queue = filled(1, 2, 3)
    assert ages(queue.oldest(count)) == [1, 2, 3][:count]
    assert ages(queue.newest(count)) == [3, 2, 1][:count]
    assert len(queue) == 3


@given(st.lists(st.tuples(st.sampled_from(["add", "take", "back", "remove"]), st.integers(0, 99))))
def test_like_a_sorted_list(steps: list[tuple[str, int]]) -> None:
    """After any steps the queue holds what a plain sorted list would hold."""
    queue, model = filled(), []
    out: list[Job] = []
    born = 0
    for step, choice in steps:
        if step == "add":
            born += 1
            queue.append(born, job(born))
            model.append(born)
        elif step == "take":
            oldest = queue.take()
            assert (oldest and oldest.ctime) == (model.pop(0) if model else None)
            out += [oldest] if oldest else []
        elif step == "back" and out:
            returned = out.pop(choice % len(out))
            queue.put_back(returned)
            model = sorted([*model, returned.ctime])
        elif step == "remove" and model:
            ctime = model.pop(choice % len(model))
            queue.remove(next(job for job in queue.oldest(len(queue)) if job.ctime == ctime))
        assert len(queue) == len(model)
        assert ages(queue.oldest(100)) == model
        assert ages(queue.newest(100)) == model[::-1]
