"""The cluster of one workflow without a client: made on an API in memory, and who listens to it."""

from fitcast.scheduler.backends.kubernetes.cluster import WorkflowCluster
from fitcast.scheduler.backends.kubernetes.objects import PodSettings
from tests.kubernetes.conftest import SMALL


class Heard:
    """Notes what a backend reports."""

    def __init__(self):
        self.notes = ()
        self.lost = []
        self.replaced = []

    def workers_changed(self):
        pass

    def workers_lost(self, error):
        self.lost.append(error)

    def cluster_replaced(self, dask):
        self.replaced.append(dask)

    def trouble(self, notes):
        self.notes = notes


def workers_on(api, sealed):
    return WorkflowCluster(
        api,
        (SMALL,),
        PodSettings(image="i"),
        *sealed,
        reads_uri=True,
        forwarded=False,
        start_within_s=60.0,
        start_s=lambda: 1.0,
        started=lambda took_s: None,
        speeds=[],
        owner_labels={},
    )
