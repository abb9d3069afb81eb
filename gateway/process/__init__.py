"""What every process needs, independent of sales: Postgres, Kafka, scraping."""
