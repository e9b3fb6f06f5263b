"""Celery's `utils`, as far as applications use them."""
