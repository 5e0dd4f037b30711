"""`python -m imagecheck` is `imagecheck`."""

from imagecheck.cli import main

raise SystemExit(main())
