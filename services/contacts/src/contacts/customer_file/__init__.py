"""The customer file: everything known of a customer, in one answer."""
