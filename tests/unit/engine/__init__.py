"""Tests of the engine: pure, no stack."""
