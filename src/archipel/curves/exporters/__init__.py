"""A run's history in files that other tools read, appended to or written anew as the run goes on.

Parts: shape (what an exporter is, and what is new to one) · lines (JSON lines), tables (CSV, Parquet), event_files
(TensorBoard), weights_and_biases. Law: what a file already holds is read from the file itself, so an exporter that
was killed goes on without a gap and without a doubled row.
"""
