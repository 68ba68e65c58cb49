"""What a fit costs by the rule of its family."""
