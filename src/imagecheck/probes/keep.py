"""Keep a container up for probes: keep.py SECONDS. Prints the environment that the image's entry point prepared."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

print("imagecheck-environment", json.dumps({"environment": dict(os.environ), "folder": str(Path.cwd())}), flush=True)
time.sleep(float(sys.argv[1]))
