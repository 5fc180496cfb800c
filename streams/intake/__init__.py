"""The way of a submission: decode, reserve, persist, announce. One module a stage, and the pipeline that joins them."""
