"""What performance claims rest on: measured, compared, repeatable. Not part of the package."""
