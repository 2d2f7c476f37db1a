"""Workers on a Ray cluster: placed, started again, and as many of them as the queue needs.

    the queue's demand -> how many workers (`scaling`) -> one Ray actor each (`member`), with the part of a GPU that its
    models need (`share`) -> started, watched and stopped (`cluster`)

Ray knows of workers only. Each is the worker of `hibari worker`, takes its jobs from the database and reports to it, so
that nothing is lost with Ray: the leases of its jobs run out, and any other worker goes on with them. Ray is imported
when a cluster is used, and torch only where a worker runs.
"""

from hibari.cluster.cluster import Cluster, Status, WorkerStatus
from hibari.cluster.scaling import Scale
from hibari.cluster.share import Share

__all__ = ["Cluster", "Scale", "Share", "Status", "WorkerStatus"]
