"""What a run is: its options, its states, its events and its summary. Pure values, no I/O."""
