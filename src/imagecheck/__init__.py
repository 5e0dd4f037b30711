"""imagecheck: boots any PyTorch image and says, with evidence, whether it is fit to work on.

Public: `judge(reference, settings)` gives a `Scorecard`; `Settings` holds every choice; `Outcome` names the four ends
a check can come to. The command is `imagecheck`, the pytest option is `--image`; both stand on these.
"""

from imagecheck.outcome import Outcome, Result
from imagecheck.scorecard import Scorecard
from imagecheck.settings import Settings
from imagecheck.suite import judge

__all__ = ["Outcome", "Result", "Scorecard", "Settings", "judge"]
