"""The scorecard, told to a terminal, to a program, to CI and to a browser."""
