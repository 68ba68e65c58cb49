"""What a user holds: client, workflows, results."""
