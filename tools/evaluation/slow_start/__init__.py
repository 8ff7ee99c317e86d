"""What TCP's slow start after a pause costs, against its prediction."""
