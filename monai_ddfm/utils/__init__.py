"""Ground that every room stands on: files, places, memory, notes of a run, color spaces."""
