"""What the module MONAIDDFM does without Slicer's own classes."""
