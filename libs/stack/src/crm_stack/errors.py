"""What crm_stack raises when it cannot do what it was asked."""


class StackError(RuntimeError):
    """One line, for a person: what is missing or in the way, and what to do about it."""
