"""The PyTorch workstation, as seen from inside the image: doctor, server, training, worked examples."""

__version__ = "0.1.0"
