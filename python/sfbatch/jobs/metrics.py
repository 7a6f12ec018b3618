"""Numbers for Prometheus; a registry of its own, so that two servers in one process do not mix theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily

from sfbatch.jobs import jobs
from sfbatch.jobs.states import KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sfbatch.jobs.database import Database

BUCKETS_S = (0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """`sfbatch_jobs{status}`, `sfbatch_http_request_seconds{method, route, status}` and the process's own."""

    def __init__(self, database: Database) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Histogram(
            "sfbatch_http_request_seconds",
            "Time from a request's headers to the end of its answer.",
            ("method", "route", "status"),
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self.registry.register(_Jobs(database))


class _Jobs:
    """Counts the jobs when Prometheus asks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> list[GaugeMetricFamily]:
        return [self._family()]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        with self._database.read() as connection:
            found = jobs.counts(connection)
        family = self._family()
        for state in KNOWN:
            family.add_metric([state], found.get(state, 0))
        yield family

    @staticmethod
    def _family() -> GaugeMetricFamily:
        return GaugeMetricFamily("sfbatch_jobs", "Jobs by state.", labels=["status"])
