"""Workers on Kubernetes: a Dask cluster per workflow, a worker group per pool.

:mod:`~fitcast.scheduler.backends.kubernetes.backend` is what users make;
:mod:`~fitcast.scheduler.backends.kubernetes.cluster` keeps the cluster of one workflow;
:mod:`~fitcast.scheduler.backends.kubernetes.objects` says how its objects look,
:mod:`~fitcast.scheduler.backends.kubernetes.pod_status` what the status of its pods means;
:mod:`~fitcast.scheduler.backends.kubernetes.pod_observer` lists them for all who ask;
:mod:`~fitcast.scheduler.backends.kubernetes.api` alone talks to the API server;
:mod:`~fitcast.scheduler.backends.kubernetes.pod` is what runs inside a pod.
"""
