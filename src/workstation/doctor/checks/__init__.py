"""The checks, by theme: each a small pure function from facts to a finding."""
