"""What viewers may ask and do: one table of endpoints, reached by REST and by boards of a kernel alike."""
