"""What a run will do, and how long it takes on this machine, before it does anything."""
