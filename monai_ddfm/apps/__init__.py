"""Programs made from the rooms below: studies, label server, benchmark, speed, demo."""
