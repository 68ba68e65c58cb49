"""What gives workers: this machine, or Kubernetes."""
