"""Takes jobs, runs the engine, stores the clips, records the outcome: the one place where queue meets engine.

    claimed -> prepared (model, sources) -> in the engine, with others, step by step -> written and stored -> completed

Three threads beside the one that drives the engine: the *heart* tells the queue that the jobs are alive and hears what
is wanted of them; an *output* a clip encodes and stores, while the engine goes on with others; *housekeeping* removes
what is over. `worker` is the loop, `held` a job while it is here, `wishes` and `failures` translate, and `start` puts
all of it together as the settings say.
"""

from hibari.worker.start import worker_on
from hibari.worker.worker import Worker

__all__ = ["Worker", "worker_on"]
