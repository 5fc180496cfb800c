"""The running processes, thin: Faust agents around the stages of `streams`. The only importer of faust."""
