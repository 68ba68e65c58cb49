"""What is kept of a workflow on disk: its submission, and the results of its fits, sealed."""
