"""Hypothesis profiles, and the fixtures that start real neighbours."""

import os
import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))
# torch's optimisers import it where it is there. No test compiles for a GPU in this process, and at the process's end
# it prints thirty lines about leaks behind the tests' verdict.
sys.modules.setdefault("triton", None)  # type: ignore[arg-type]

settings.register_profile("dev", max_examples=25, deadline=None, print_blob=True)
settings.register_profile("ci", max_examples=50, deadline=None, print_blob=True)
settings.register_profile("night", max_examples=5000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))

from kafka_fixture import kafka_bootstrap  # noqa: E402, F401
