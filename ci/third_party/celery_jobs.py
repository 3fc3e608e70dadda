"""Celery: tasks sent from here, worked off by a worker process, results read back; then a group and a chain.

    celery_jobs.py PRODUCER_PORT WORKER_PORT JOBS
"""

import os
import subprocess
import sys

import celery

PORT = os.environ.get("CELERY_JOBS_PORT", "")
app = celery.Celery("celery_jobs", broker=f"redis://127.0.0.1:{PORT}/1", backend=f"redis://127.0.0.1:{PORT}/2")
app.conf.update(broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)


@app.task(name="celery_jobs.add")
def add(one, other):
    return one + other


def main():
    producer_port, worker_port, count = sys.argv[1:]
    here = {**os.environ, "CELERY_JOBS_PORT": worker_port}
    worker = subprocess.Popen([sys.executable, "-m", "celery", "-A", "celery_jobs", "worker", "--pool", "threads",
                               "--concurrency", "4", "--loglevel", "WARNING", "--without-gossip", "--without-mingle"], env=here)
    try:
        app.conf.broker_url = f"redis://127.0.0.1:{producer_port}/1"
        app.conf.result_backend = f"redis://127.0.0.1:{producer_port}/2"
        results = [add.delay(number, 1) for number in range(int(count))]
        done = sum(result.get(timeout=120) == number + 1 for number, result in enumerate(results))
        together = celery.group(add.s(number, number) for number in range(20))().get(timeout=60)
        chained = celery.chain(add.s(1, 2), add.s(3), add.s(4))().get(timeout=60)
    finally:
        worker.terminate()
        worker.wait(timeout=60)
    if done != int(count) or together != [2 * number for number in range(20)] or chained != 10:
        sys.exit(f"{done} of {count} results are right; group {together}, chain {chained}")
    print(f"{done} tasks done, a group and a chain")


if __name__ == "__main__":
    main()
