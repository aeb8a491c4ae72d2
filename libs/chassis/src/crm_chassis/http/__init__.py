"""HTTP as every service speaks it: problems, access, receipts, freshness, health."""
