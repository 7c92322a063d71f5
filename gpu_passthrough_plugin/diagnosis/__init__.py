"""Stage 7: evidence becomes findings, each with what helps."""
