"""The judge of the chaos runs of workers: it sees each kind of broken promise, and no other."""

from __future__ import annotations

import pytest

from harness.chaos.worker_history import Add, Life, Run, Story, Task, Trouble
from harness.chaos.worker_promises import Promises
from pydisque.dead_letters import DeadLetter

ONE, TWO = 1, 2


@pytest.fixture
def story() -> Story:
    """One with two workers in which nothing happened yet."""
    story = Story("threads", 2.0)
    story.lives = {pid: Life(pid, pid, 0.0) for pid in (ONE, TWO)}
    return story


def added(story: Story, task: Task | None = None) -> str:
    """A job that was added at the start."""
    id_ = f"D-{len(story.adds)}"
    story.adds.append(Add(task or Task(id_), id_, 0.0))
    return id_


def ran(
    story: Story, id_: str, worker: int, begun: float, outcome: str = "", took: float = 0.01,
    nacks: int = 0, additional: int = 0,
) -> Run:  # fmt: skip
    """A job was run."""
    name = next(add.task.name for add in story.adds if add.id == id_)
    run = Run(id_, name, nacks, additional, worker, worker, begun)
    if outcome:
        run.outcome, run.ended = outcome, begun + took
    story.runs[id_].append(run)
    return run


def died(story: Story, worker: int, when: float, how: str, code: int = 0) -> Life:
    """A worker ended."""
    life = story.lives[worker]
    life.how, life.ended, life.code = how, when, code
    return life


def broken(story: Story) -> str:
    """What was found, in one text."""
    return "; ".join(violation.what for violation in Promises(story).broken())


def test_a_good_life(story: Story) -> None:
    """Run once to its end: nothing is wrong with that, nor with an add in doubt that never ran."""
    ran(story, added(story), ONE, 1, "done")
    story.adds.append(Add(Task("in doubt"), "", 0.0))
    assert not broken(story)


def test_a_lost_job(story: Story) -> None:
    """One that was confirmed and never run to its end is missed."""
    id_ = added(story)
    assert "never run to its end" in broken(story)
    ran(story, id_, ONE, 1)
    assert "never run to its end" in broken(story)
    ran(story, id_, ONE, 2, "failed", nacks=1)
    assert "never run to its end" in broken(story)


def test_a_job_done_twice_for_no_reason(story: Story) -> None:
    """Two runs in workers that are well are one too many, with a nack or without."""
    id_ = added(story)
    ran(story, id_, ONE, 1, "done")
    second = ran(story, id_, TWO, 4, "done", additional=1)
    assert "without a nack, and nothing tells why" in broken(story)
    second.nacks, second.additional = 1, 0
    assert "as failed, and nothing tells why" in broken(story)


def test_a_job_that_failed(story: Story) -> None:
    """One failure explains one delivery more, counted as a nack and after it."""
    id_ = added(story)
    ran(story, id_, ONE, 1, "failed")
    second = ran(story, id_, TWO, 2, "done", nacks=1)
    assert not broken(story)
    second.begun = 0.9
    assert "nothing tells why" in broken(story)
    second.begun = 2
    ran(story, id_, TWO, 3, "done", nacks=2)
    assert "nothing tells why" in broken(story)


def test_an_executor_that_is_broken(story: Story) -> None:
    """It explains a nack after it of what ran or was about to, once, and its worker has to end."""
    id_ = added(story)
    first = ran(story, id_, ONE, 1)
    ran(story, id_, TWO, 4, "done", nacks=1)
    assert "as failed, and nothing tells why" in broken(story)
    life = died(story, ONE, 3, "executor", 4)
    life.broken = 2
    assert not broken(story)
    del story.runs[id_][0]
    assert not broken(story)
    life.broken = 5
    assert "as failed, and nothing tells why" in broken(story)
    story.runs[id_].insert(0, first)
    life.broken, life.ended = 2, 30
    assert "went on though its executor was broken" in broken(story)


@pytest.mark.parametrize("how", ["kill", "segv", "oom"])
def test_a_worker_that_dies(story: Story, how: str) -> None:
    """Its death explains a delivery after it of what it had, and of nothing it was done with."""
    id_ = added(story)
    first = ran(story, id_, ONE, 1)
    ran(story, id_, TWO, 4, "done", additional=1)
    assert "without a nack" in broken(story)
    life = died(story, ONE, 2, how)
    assert not broken(story)
    life.ended = 5
    assert "without a nack" in broken(story)
    life.ended = 3.5
    first.outcome, first.ended = "done", 3.4
    assert not broken(story)
    first.ended = 1.1
    assert "without a nack" in broken(story)


def test_a_worker_that_ends_by_itself(story: Story) -> None:
    """Nobody made it end."""
    died(story, ONE, 2, "crash", 1)
    assert "ended by itself" in broken(story)


def test_a_worker_that_is_stopped(story: Story) -> None:
    """A stop explains what it had then, if it was longer than what was left of the lease."""
    id_ = added(story)
    first = ran(story, id_, ONE, 1, "done", took=4)
    second = ran(story, id_, TWO, 3.5, "done", additional=1)
    assert "without a nack" in broken(story)
    story.lives[ONE].stops = [(1.5, 4.5)]
    assert not broken(story)
    second.begun = 1.6
    assert "without a nack" in broken(story)
    second.begun = 3.5
    story.lives[ONE].stops = [(1.5, 1.7)]
    assert "without a nack" in broken(story)
    story.lives[ONE].stops = [(7, 9)]
    assert "without a nack" in broken(story)
    story.lives[ONE].stops = [(1.5, 4.5)]
    first.begun, first.ended = 4.6, 4.7  # it lay in the worker meanwhile
    assert not broken(story)
    first.begun, first.ended = 6, 6.1
    assert "without a nack" in broken(story)


def test_a_worker_that_is_told_to_end(story: Story) -> None:
    """What it had is done, or given back as failed once the grace is over; it is not just left."""
    id_ = added(story)
    life = died(story, ONE, 4, "term")
    life.told_to_end = 1.9
    first = ran(story, id_, ONE, 1)
    second = ran(story, id_, TWO, 4.1, "done", nacks=1)
    assert not broken(story)
    second.nacks, second.additional = 0, 1
    assert "without a nack" in broken(story)
    second.nacks, second.additional = 1, 0
    first.outcome, first.ended = "done", 2.5
    assert "as failed, and nothing" in broken(story)


def test_a_worker_that_does_not_end(story: Story) -> None:
    """It has its grace and a little more; and it says whether it cut anything short."""
    life = died(story, ONE, 30, "term", 1)
    life.told_to_end = 25
    assert "did with 1" in broken(story)
    life.code = 3
    assert not broken(story)
    life.told_to_end = 1
    assert "took 29.0 s to end" in broken(story)
    story.lives[TWO].told_to_end = 1
    assert "took inf s to end" in broken(story)


def test_a_process_that_dies_in_its_job(story: Story) -> None:
    """With processes the worker lives to tell; with others there is no such thing."""
    id_ = added(story, Task("segv-1", deed="segv", deaths=1))
    ran(story, id_, ONE, 1)
    ran(story, id_, ONE, 3, "done", nacks=1)
    assert "nothing tells why" in broken(story)
    story.executor = "processes"
    assert not broken(story)
    id_ = added(story)
    ran(story, id_, ONE, 1)
    ran(story, id_, ONE, 3, "done", nacks=1)
    assert "nothing tells why" in broken(story)


def test_trouble(story: Story) -> None:
    """It explains what workers that met it had, if it was long enough to lose a lease by."""
    id_ = added(story)
    ran(story, id_, ONE, 1, "done", took=1)
    ran(story, id_, TWO, 6, "done", additional=1)
    story.troubles = [Trouble("restart", 1.5, 4.5, frozenset({TWO}))]
    assert "without a nack" in broken(story)
    story.troubles = [Trouble("restart", 1.5, 4.5, frozenset({ONE}))]
    assert not broken(story)
    story.troubles = [Trouble("cut", 1.5, 1.51, frozenset({ONE}))]
    assert "without a nack" in broken(story)


def test_dead_letters(story: Story) -> None:
    """A job is dead when it was made to die so often, and not before."""
    id_ = added(story, Task("segv-1", deed="segv", deaths=99))
    letter = DeadLetter("deadly", id_, 0, 3, "too often", "", "")
    for number in range(3):
        story.lives[number] = Life(number, 0, 0.0)
        died(story, number, number * 5 + 1, "segv")
        ran(story, id_, number, number * 5, additional=number)
    story.letters = [letter]
    assert not broken(story)
    del story.runs[id_][-1]
    assert not broken(story)  # it was with the third worker, and not begun
    story.lives[2].how = "term"
    assert "undeservedly" in broken(story)


def test_deliveries_that_begin_nothing(story: Story) -> None:
    """They happen when workers die or are stopped, and not when they are told to end."""
    id_ = added(story)
    ran(story, id_, ONE, 5, "done", additional=1)
    assert "had 1 additional deliveries" in broken(story)
    died(story, TWO, 2, "term")
    assert "had 1 additional deliveries" in broken(story)
    died(story, TWO, 2, "kill")
    assert not broken(story)


def test_what_is_left(story: Story) -> None:
    """Neither jobs nor processes are left in the end."""
    story.left, story.orphans = ["a job"], ["4711"]
    assert "left at a node" in broken(story)
    assert "outlived its worker" in broken(story)


def test_lines_that_handlers_write(story: Story) -> None:
    """A begin and its end make a run, whoever wrote in between."""
    story.read(["B 7.0 job-1 D-1 0 2 7 1 1.5", "B 8.0 job-2 D-2 1 0 8 2 1.6", "E 7.0 done 1.7"])
    [run] = story.runs["D-1"]
    assert (run.name, run.additional, run.worker, run.attempt) == ("job-1", 2, 1, 3)
    assert (run.outcome, run.begun, run.ended) == ("done", 1.5, 1.7)
    assert not story.runs["D-2"][0].outcome
    assert story.begins[2] == [1.6]


def test_times_until_work_goes_on(story: Story) -> None:
    """It is the end of the pause that counts, not a job that was there already."""
    story.begins[ONE] = [0.5, 0.9, 1.1, 6.0, 6.1]
    everybody = frozenset({ONE})
    story.troubles = [Trouble("restart", 1.0, 5.0, everybody)]
    assert story.resume_times() == {"restart": [1.0]}
    story.troubles = [Trouble("failover", 1.0, 5.5, everybody)]
    assert story.resume_times() == {"failover": [5.0]}
    story.begins[ONE] = [0.5, 1.1]
    assert story.resume_times() == {"failover": [float("inf")]}
