"""Accounts: the customers that deals are with, as contacts tells of them."""
