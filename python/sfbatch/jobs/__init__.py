"""The job server: Genie v3's REST interface, a queue in place of refusals, and back ends that run the jobs.

A job's way: `routes/` -> `accept` (durable, then answered) -> `queue` (whose turn it is) -> `selection` (which cluster
and command) -> `dispatcher` -> `backends/` -> `verdict` (the one truthful end).

What is named here is the client, for notebooks and schedulers; it imports nothing of the server.
"""

from sfbatch.jobs.client import Job, JobFailedError, JobState, find, search, submit

__all__ = ["Job", "JobFailedError", "JobState", "find", "search", "submit"]
