"""What a forecast costs: every horizon in one pass, against futures written event by event."""
