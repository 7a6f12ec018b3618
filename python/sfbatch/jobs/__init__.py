"""The job server: Genie v3's REST interface, a queue in place of refusals, and back ends that run the jobs.

A job's way: `routes/` -> `accept` (durable, then answered) -> `queue` (whose turn it is) -> `selection` (which cluster
and command) -> `dispatcher` -> `backends/` -> `verdict` (the one truthful end).
"""
