"""What is learned from records: corrections to the laws."""
