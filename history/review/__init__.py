"""What people are shown of ended workflows: description, tables, charts, reports. From records."""
