"""The smallest service: the chassis, one route, one loop."""
