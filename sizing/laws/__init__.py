"""What a fit costs by the law of its family."""
