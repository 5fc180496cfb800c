"""What stands behind `loadtest/locustfile.py`: scenarios, storefronts, the stage, the verdict."""
