"""What `redis_store` is made of: one noun per file. Import from `redis_store`."""
