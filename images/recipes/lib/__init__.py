"""The parts of make.py: one module per family of images."""
