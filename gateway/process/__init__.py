"""What every process needs and knows nothing of sales: Postgres, Kafka, scraping."""
