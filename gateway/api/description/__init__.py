"""The API described from its own table: the OpenAPI document and the page that shows it."""
