"""What runs inside a rank: collectives, and one adapter per framework that makes ordinary code data-parallel."""
