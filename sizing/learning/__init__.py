"""What records teach beyond the laws."""
