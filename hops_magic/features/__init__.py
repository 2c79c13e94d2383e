"""The feature store: groups of features in a lake of tables, found and joined by name."""
