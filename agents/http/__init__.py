"""The HTTP front: orders in, answers out. Beside the workers, and without Faust."""
