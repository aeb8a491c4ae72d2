"""What leaves the company because of an event: mails, webhooks. Intents first, then sending."""
