"""What the container runs: prepares the home and the environment, then becomes `jupyter lab`.

Start-up time is a promise: nothing on this path imports torch, rich or jupyter.
"""
