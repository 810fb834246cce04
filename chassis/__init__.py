"""What every service runs on: processing loop, clock, store, Kafka, settings, health. It knows no business word."""
