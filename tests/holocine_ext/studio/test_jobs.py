"""The queue as files: order, wishes, and what is left when whoever wrote it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from holocine_ext.studio import workers
from holocine_ext.studio.asking import Asked
from holocine_ext.studio.film import Film
from holocine_ext.studio.jobs import Progress, Queue, free_take, queue_values
from wan2.errors import InputError

ROOT = Path(__file__).parents[3]
ASKED = Asked(Path("/film"), "scene.json", {"global_caption": "A", "shots": [{"caption": "Wide"}]}, {"seed": 7})
HOLD = """
import sys, time
from pathlib import Path
from holocine_ext.studio.jobs import Progress, Queue
queue = Queue(Path(sys.argv[1]))
job = queue.next_job()
with queue.holding(job.id):
    queue.tell(job.id, Progress("running", job.tries, "denoise", 3, 20))
    print(job.id, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path / "queue")


def takes(queue: Queue) -> list[str]:
    return [job.take for job in queue.jobs()]


def test_jobs_are_made_in_the_order_that_a_person_gives(queue: Queue):
    ids = [queue.add(ASKED, name).id for name in "abc"]
    queue.move(ids[2], -1)
    queue.move(ids[0], 5)
    assert takes(Queue(queue.folder)) == ["c", "b", "a"]
    queue.want(ids[2], "hold")
    job = queue.next_job()
    assert job is not None and (job.take, job.asked(ASKED.folder)) == ("b", ASKED)


def test_a_job_that_failed_waits_again_when_it_is_wanted_again(queue: Queue):
    id = queue.add(ASKED, "a").id
    queue.tell(id, Progress("failed", 1, text="out of memory"))
    assert queue.next_job() is None and queue_values(queue)[0]["state"] == "failed"
    queue.want(id, "run")
    assert queue.job(id).tries == 2 and queue_values(queue)[0]["state"] == "waiting"
    assert queue.next_job() == queue.job(id)


def test_a_job_whose_worker_was_killed_waits_to_go_on(queue: Queue):
    id = queue.add(ASKED, "a").id
    command = [sys.executable, "-c", HOLD, str(queue.folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None and worker.stdout.readline().strip() == id
        assert queue_values(queue)[0]["state"] == "running" and queue.next_job() is None
        with pytest.raises(InputError, match="is being made"):
            queue.remove(id)
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    deadline = time.monotonic() + 5
    while queue.next_job() is None:
        assert time.monotonic() < deadline
    assert queue_values(queue)[0]["state"] == "waiting"
    queue.want(id, "cancel")
    assert queue_values(queue)[0]["state"] == "stopped" and queue.next_job() is None
    queue.remove(id)
    assert list(queue.folder.iterdir()) == []


def test_a_worker_that_cannot_begin_says_why(queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(workers, "START", "raise SystemExit('PyTorch is not here')  # {} {}")
    queue.add(ASKED, "a")
    one = workers.Workers(Film(tmp_path), queue, ["cpu"])
    deadline = time.monotonic() + 10
    while not one.trouble:
        one.start()
        assert time.monotonic() < deadline
    assert one.trouble == "PyTorch is not here" and queue.next_job() is not None


def test_forged_files_are_passed_over(queue: Queue):
    id = queue.add(ASKED, "a").id
    for name in ("20260101-000000-000000-000.json", "x.json", f"{id}.progress.json"):
        (queue.folder / name).write_text('{"wanted": "../../x"}' if name != "x.json" else "{")
    assert takes(queue) == ["a"] and queue.progress(id) == Progress()
    with pytest.raises(InputError):
        queue.job("../../etc/passwd")


def test_names_of_takes_are_free(queue: Queue, tmp_path: Path):
    (tmp_path / "day_and_night-007_sheet.png").touch()
    assert free_take("day_and_night", queue, tmp_path) == "day_and_night-008"
    queue.add(ASKED, "day_and_night-011")
    assert free_take("day_and_night", queue, tmp_path) == "day_and_night-012"
    assert free_take("day", queue, tmp_path) == "day-001"
