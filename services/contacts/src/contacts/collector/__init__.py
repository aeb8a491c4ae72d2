"""The collector: what sites, apps and other systems send in, durable before it is answered."""
