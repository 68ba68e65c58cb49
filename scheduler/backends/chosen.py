"""The backend of a client that was given none."""

from fitcast.scheduler.backends.local import LocalBackend
from fitcast.scheduler.backends.protocol import Backend
from fitcast.settings import KubernetesSettings


def backend_of_settings() -> Backend:
    """Return Kubernetes if ``FITCAST_KUBERNETES_IMAGE`` is set, else this machine."""
    settings = KubernetesSettings()
    if settings.image is None:
        return LocalBackend()
    from fitcast.scheduler.backends.kubernetes.backend import KubernetesBackend

    return KubernetesBackend.from_settings(settings)
