"""The airline as a database-centric service, to compare the grid with: grpc.aio in front of
PostgreSQL, by asyncpg. The database decides everything; the service has no state."""
