"""Lets this folder's tests import what they share (``sizing_making.py``)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
