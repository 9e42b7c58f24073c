"""Work that nobody waits for: the Celery worker, training, evaluation, and the command line."""
