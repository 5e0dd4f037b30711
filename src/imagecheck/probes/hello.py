"""Whether torch imports and computes here, with what little the container was given."""

from __future__ import annotations

import json
import os
from pathlib import Path


def main() -> None:
    document: dict[str, object] = {"uid": os.getuid(), "gid": os.getgid(), "folder": str(Path.cwd())}
    try:
        import torch

        document["answer"] = (torch.ones(3) @ torch.ones(3)).item()
    except Exception as error:  # whatever it is, it is the finding
        document["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(document))


if __name__ == "__main__":
    main()
