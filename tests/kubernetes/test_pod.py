"""What runs in a pod, seen from outside Kubernetes."""

from fitcast.scheduler.backends.kubernetes.pod import listening


def test_a_scheduler_listens_on_the_loopback_too_where_forwarded_ports_lead():
    assert listening({"FITCAST_POD_IP": "10.1.2.3"}) == {
        "host": "0.0.0.0",
        "contact_address": "tls://10.1.2.3:8786",
    }
    assert listening({"FITCAST_POD_IP": "fd00::7"}) == {
        "host": "::",
        "contact_address": "tls://[fd00::7]:8786",
    }
