"""The article's worked examples, corrected: one module each, every one with a threshold that its test asserts."""
