"""rq: jobs enqueued here, worked off by two workers, results read back.

    rq_jobs.py PRODUCER_PORT WORKER_PORT JOBS

Each job must have run, with its result. The workers end by themselves when the queue is empty.
"""

import subprocess
import sys
import time


def double(number):
    return 2 * number


def main():
    import redis
    import rq

    import rq_jobs

    producer_port, worker_port, count = map(int, sys.argv[1:])
    producer, worker = redis.Redis(port=producer_port), redis.Redis(port=worker_port)
    queue = rq.Queue("jobs", connection=producer)
    jobs = [queue.enqueue(rq_jobs.double, number, result_ttl=600) for number in range(count)]
    deadline = time.monotonic() + 30
    while len(rq.Queue("jobs", connection=worker)) < count:
        if time.monotonic() > deadline:
            sys.exit("the worker's node does not see all jobs")
        time.sleep(0.05)
    command = [sys.executable, "-m", "rq.cli", "worker", "--burst", "--quiet", "--url", f"redis://127.0.0.1:{worker_port}/0",
               "--worker-class", "rq.worker.SimpleWorker", "jobs"]
    workers = [subprocess.Popen(command) for _ in range(2)]
    if any(worker.wait(timeout=240) for worker in workers):
        sys.exit("a worker failed")
    deadline = time.monotonic() + 30
    while (done := sum(job.return_value(refresh=True) == 2 * number for number, job in enumerate(jobs))) < count:
        if time.monotonic() > deadline:
            sys.exit(f"only {done} of {count} jobs have their result")
        time.sleep(0.5)
    if len(queue) or queue.failed_job_registry.count or queue.started_job_registry.count:
        sys.exit("jobs are left over")
    print(f"{done} jobs done")


if __name__ == "__main__":
    main()
