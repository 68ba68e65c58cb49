"""What is kept of a workflow on disk: the results of its fits, sealed, from the moment they end."""
